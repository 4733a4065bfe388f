use super::*;

#[test]
fn durations_have_a_number_and_a_unit() {
    for (text, milliseconds) in [
        ("0s", 0),
        ("500ms", 500),
        ("10s", 10_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
    ] {
        let duration = duration(text).expect(text);
        assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
        if milliseconds > 0 {
            assert_eq!(duration_text(duration), text);
        }
    }
    assert_eq!(duration_text(Duration::from_millis(90_500)), "90500ms");
    assert_eq!(duration_text(Duration::from_secs(90)), "90s");
}

#[test]
fn what_is_no_duration_is_refused_with_an_example() {
    for text in [
        "",
        "10",
        "s",
        "1.5s",
        "-1s",
        "+1s",
        "10 s",
        "10S",
        "1h30m",
        "99999999999999999999s",
        "18446744073709551615h",
        "\u{661}s",
    ] {
        let fault = duration(text).expect_err(text);
        assert!(fault.remedy.contains("\"10s\""), "{text}");
    }
}

#[test]
fn addresses_to_listen_on_are_tcp_or_unix() {
    let base = Path::new("/etc/lockgate");
    let listen = |text| listen_address(text, base).map(|address| address.to_string());
    for text in [
        "0.0.0.0:8443",
        "[::]:8443",
        "127.0.0.1:0",
        "unix:/run/edge.sock",
    ] {
        assert_eq!(listen(text).as_deref(), Ok(text));
    }
    assert_eq!(
        listen("unix:edge.sock").as_deref(),
        Ok("unix:/etc/lockgate/edge.sock")
    );
    for (text, remedy) in [
        ("8443", "\"0.0.0.0:8443\""),
        (":8443", "\"[::]:8443\""),
        ("127.0.0.1", "\"127.0.0.1:8443\""),
        ("::1", "\"[::1]:8443\""),
        ("localhost:8443", "\"0.0.0.0:8443\""),
        ("127.0.0.1:70000", "\"0.0.0.0:8443\""),
        ("", "\"0.0.0.0:8443\""),
        ("unix:", "unix:/run"),
        ("unix:/run/", "unix:/run"),
    ] {
        let fault = listen(text).expect_err(text);
        assert!(fault.remedy.contains(remedy), "{text}: {fault:?}");
    }
    let long = format!("unix:/{}", "a".repeat(107));
    assert!(listen(&long).expect_err("too long").remedy.contains("107"));
}

#[test]
fn servers_are_addresses_or_names_with_ports() {
    let base = Path::new("/etc/lockgate");
    for text in [
        "127.0.0.1:8080",
        "[::1]:8080",
        "app.internal:8080",
        "app:80",
        "_app._tcp.internal.:8080",
        "unix:/run/app.sock",
    ] {
        assert_eq!(
            server(text, base).map(|s| s.to_string()).as_deref(),
            Ok(text)
        );
    }
    for (text, message) in [
        ("app.internal", "no port"),
        ("app.internal:", "not a port"),
        ("app.internal:0", "not a port"),
        ("127.0.0.1:0", "port 0"),
        ("app:70000", "not a port"),
        ("256.1.1.1:80", "host name"),
        ("-app:80", "host name"),
        ("a b:80", "host name"),
        (":80", "host name"),
        ("::1:80", "host name"),
        ("http://app:80/", "URL"),
        ("unix:", "no socket"),
    ] {
        let fault = server(text, base).expect_err(text);
        assert!(fault.message.contains(message), "{text}: {fault:?}");
    }
}

#[test]
fn names_are_short_and_plain() {
    assert!(name("edge-1.public_tls").is_ok());
    for text in ["", "a b", "é", "a\"b", &"a".repeat(65)] {
        assert!(name(text).is_err(), "{text}");
    }
}

use std::path::Path;

use super::*;

fn read(text: &str) -> FileConfig {
    parse(text, Path::new("lockgate.toml")).expect("this is TOML")
}

/// Each problem as `line path: message; remedy`.
fn problems(text: &str) -> Vec<String> {
    let config = read(text);
    config
        .problems
        .iter()
        .map(|p| {
            let line = p.place.line.unwrap_or_default();
            format!("{line} {}: {}; {}", p.place.path, p.message, p.remedy)
        })
        .collect()
}

#[test]
fn an_unknown_key_names_the_nearest_known_one_or_where_it_belongs() {
    for (text, expected) in [
        (
            "[limits]\nidle_timout = \"1s\"",
            "2 limits.idle_timout: unknown key; did you mean idle_timeout?",
        ),
        (
            "[[listeners]]\nname = \"a\"",
            "1 listeners: unknown key; did you mean listener?",
        ),
        (
            "[[listener]]\ncertificates = [{ cert_file = \"a\", key_file = \"b\" }]",
            "2 listener[0].certificates[0].cert_file: unknown key; did you mean certificate_file?",
        ),
        (
            "[runtime]\nidle_timeout = \"1s\"",
            "2 runtime.idle_timeout: unknown key; idle_timeout belongs in [limits]",
        ),
        (
            "[admin]\nlisten = \"127.0.0.1:1\"\ntoken = \"x\"",
            "3 admin.token: unknown key; remove it; [admin] knows listen, token_file, access, tls",
        ),
        (
            "\"a b\" = 1",
            "1 \"a b\": unknown key; remove it; the top level knows runtime, limits, log, audit, admin, telemetry, listener, backend",
        ),
    ] {
        assert_eq!(problems(text), [expected]);
    }
}

#[test]
fn a_misspelled_key_is_not_reported_as_missing_as_well() {
    let config = read("[[listener]]\nnmae = \"edge\"\n");
    assert_eq!(config.problems.len(), 1);
    assert!(matches!(&config.listeners.list[0].name.given, Given::Value(name) if name == "edge"));
}

#[test]
fn a_value_of_another_type_is_refused_with_the_way_to_write_it() {
    for (text, expected) in [
        (
            "[[listener]]\nmin_tls = 1.2",
            "2 listener[0].min_tls: is a number with a fraction, not a string; put it in quotes: \"1.2\"",
        ),
        (
            "[limits]\nidle_timeout = 10",
            "2 limits.idle_timeout: is a number, not a string; write it with its unit, in quotes: \"10s\"",
        ),
        (
            "[limits]\nconnections = \"10\"",
            "2 limits.connections: is a string, not a whole number; write a whole number without quotes: connections = 1000",
        ),
        (
            "[limits]\nconnections = 99999999999999999999",
            "2 limits.connections: 99999999999999999999 is too large a number; write a smaller one",
        ),
        (
            "[listener]\nname = \"a\"",
            "1 listener: is a table, not a list of tables; begin each with [[listener]], two brackets on each side",
        ),
        (
            "[[listener]]\ncertificates = [\"a.crt\"]",
            "2 listener[0].certificates[0]: is a string, not a table; write a list of tables: certificates = [{ ... }]",
        ),
        (
            "[[listener]]\nclient_auth = \"required\"",
            "2 listener[0].client_auth: is a string, not a table; write it as a table: client_auth = { mode = ... }",
        ),
        (
            "runtime = true",
            "1 runtime: is true or false, not a table; write it as a table: [runtime]",
        ),
        (
            "[[backend]]\nservers = [\"a:1\", 2]",
            "2 backend[0].servers[1]: is a number, not a string; put it in quotes: \"2\"",
        ),
        (
            "[[backend]]\nname = 1979-05-27",
            "2 backend[0].name: is a date or time, not a string; write a string, in quotes",
        ),
    ] {
        assert_eq!(problems(text), [expected]);
    }
}

#[test]
fn a_single_string_is_a_list_of_one() {
    let config = read("[[backend]]\nservers = \"127.0.0.1:8080\"");
    assert!(
        matches!(&config.backends.list[0].servers.given, Given::Value(list) if list.len() == 1)
    );
}

#[test]
fn numbers_may_be_written_in_any_base() {
    let config = read("[limits]\nrecords_per_key = 0x1_0000");
    assert!(matches!(
        config.limits.records_per_key.given,
        Given::Value(0x1_0000)
    ));
}

#[test]
fn text_that_is_no_toml_is_shown_with_its_position() {
    let text = "[log]\nlevel = \"info\n[runtime]\noffload = ?\n";
    let problems = parse(text, Path::new("lockgate.toml")).expect_err("no TOML");
    let shown = problems.to_string();
    assert!(shown.starts_with("lockgate.toml:2:"), "{shown}");
    assert!(shown.contains("level = \"info\n"), "{shown}");
    assert!(shown.contains("lockgate.toml:4:"), "{shown}");
}

#[test]
fn a_key_given_twice_is_refused() {
    let problems = parse(
        "[log]\nlevel = \"info\"\nlevel = \"warn\"",
        Path::new("l.toml"),
    );
    let shown = problems.expect_err("a duplicate").to_string();
    assert!(
        shown.starts_with("l.toml:3:1") && shown.contains("duplicate key"),
        "{shown}"
    );
}

#[test]
fn a_line_of_a_private_key_is_never_shown() {
    let text = "key = \"\"\"\n-----BEGIN PRIVATE KEY-----\n\"\"\"\nMIIEsecret ! =\n";
    let problems = parse(text, Path::new("l.toml")).expect_err("no TOML");
    assert!(!problems.to_string().contains("secret"));
}

#[test]
fn no_text_makes_the_reader_panic() {
    let text = "[[listener]]\nname = \"é\"\nlisten = [\"a\"]\n[limits]\nlifetime = \"0s\"\n";
    for (end, _) in text.char_indices() {
        for insert in ["", "\"", "[", "]", "=", "\n", "'''", "\u{0}", "{"] {
            let (start, rest) = text.split_at(end);
            for text in [format!("{start}{insert}"), format!("{start}{insert}{rest}")] {
                parse(&text, Path::new("l.toml")).ok();
            }
        }
    }
}

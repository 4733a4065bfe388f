//! `lockgate pki`: makes a private CA, and certificates of it; says what was written and how to use it.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use crate::{
    cli::{PkiCommand, PkiInitArgs, PkiIssueArgs},
    pki::{self, Authority, Error, Purpose, Request},
};

// sysexits(3).
const EX_USAGE: u8 = 64;
const EX_DATAERR: u8 = 65;
const EX_NOINPUT: u8 = 66;
const EX_SOFTWARE: u8 = 70;
const EX_CANTCREAT: u8 = 73;
const EX_IOERR: u8 = 74;

pub fn run(command: &PkiCommand) -> ExitCode {
    let done = match command {
        PkiCommand::Init(arguments) => init(arguments),
        PkiCommand::Issue(arguments) => issue(arguments),
    };
    match done {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(EX_IOERR),
        },
        Err(error) => {
            // The exit code tells it as well.
            writeln!(io::stderr(), "lockgate pki: {error}").ok();
            ExitCode::from(exit_code(&error))
        }
    }
}

fn init(arguments: &PkiInitArgs) -> Result<String, Error> {
    let authority = Authority::create(&arguments.organization)?;
    let written = authority.save(&arguments.dir, arguments.force)?;
    let dir = shell(&arguments.dir);
    let root_key = shell(&arguments.dir.join(pki::ROOT_KEY));
    Ok(format!(
        "wrote\n{}\nkeep {root_key} offline: issuing does not need it\n\nnext\n  \
         lockgate pki issue edge --server --dns edge.example.com --dir {dir}\n  \
         lockgate pki issue alice --client --uri spiffe://example.com/people/alice --dir {dir}\n",
        files(written.iter().map(|path| path.as_path())),
    ))
}

fn issue(arguments: &PkiIssueArgs) -> Result<String, Error> {
    let request = Request {
        name: arguments.name.clone(),
        dns: arguments.dns.clone(),
        uris: arguments.uri.clone(),
        ips: arguments.ip.clone(),
        purpose: match (arguments.client, arguments.server) {
            (true, false) => Purpose::Client,
            (false, true) => Purpose::Server,
            _ => Purpose::Both,
        },
        days: arguments.days,
        key_type: arguments.key_type,
    };
    let authority = Authority::open(&arguments.dir)?;
    let issued = authority.issue(&request)?;
    let written = issued.save(&arguments.out, &request.name, arguments.force)?;
    let days = match request.days {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    Ok(format!(
        "wrote, valid for {days}\n{}{}",
        files(written.iter().map(|path| path.as_path())),
        usage(arguments, &request)
    ))
}

/// Command lines that use the new certificate as it is.
fn usage(arguments: &PkiIssueArgs, request: &Request) -> String {
    let key = shell(&arguments.out.join(format!("{}.key", request.name)));
    let certificate = shell(&arguments.out.join(format!("{}.crt", request.name)));
    let root = shell(&arguments.dir.join(pki::ROOT_CERTIFICATE));
    let mut text = String::new();
    if request.purpose != Purpose::Client {
        text.push_str(&format!(
            "\nserve with it\n  lockgate run --listen 0.0.0.0:8443 --tls-cert-path {certificate} \
             --tls-key-path {key} --backend 127.0.0.1:8080\n\
             and only for clients of this CA\n  ... --client-auth required --client-ca-path {root}\n"
        ));
    }
    if request.purpose != Purpose::Server {
        text.push_str(&format!(
            "\nconnect with it\n  curl --cert {certificate} --key {key} --cacert {root} https://HOST:8443/\n"
        ));
    }
    text
}

fn files<'p>(paths: impl Iterator<Item = &'p Path>) -> String {
    let what = |path: &Path| match path.extension().is_some_and(|extension| extension == "key") {
        true => "private key, for its owner only",
        false => "certificate",
    };
    let lines: Vec<_> = paths
        .map(|path| (path.display().to_string(), what(path)))
        .collect();
    let width = lines
        .iter()
        .map(|(path, _)| path.chars().count())
        .max()
        .unwrap_or_default();
    lines
        .iter()
        .map(|(path, what)| format!("  {path:width$}  {what}\n"))
        .collect()
}

/// A path as a shell takes it.
fn shell(path: &Path) -> String {
    let text = path.strip_prefix(".").unwrap_or(path).display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Name { .. } | Error::NoNames | Error::Days(_) | Error::OutlivesIssuer { .. } => {
            EX_USAGE
        }
        Error::Read { .. } => EX_NOINPUT,
        Error::Unusable { .. } => EX_DATAERR,
        Error::Exists(_) | Error::Write { .. } => EX_CANTCREAT,
        Error::Certificate(_) | Error::Random => EX_SOFTWARE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell_where_they_need_it() {
        assert_eq!(shell(Path::new("./edge.crt")), "edge.crt");
        assert_eq!(shell(Path::new("/a b/it's.crt")), r"'/a b/it'\''s.crt'");
    }

    #[test]
    fn issuing_tells_how_to_serve_and_how_to_connect() {
        let arguments = PkiIssueArgs {
            name: "edge".into(),
            dns: vec![],
            uri: vec![],
            ip: vec![],
            client: false,
            server: true,
            days: 90,
            key_type: pki::KeyType::P256,
            dir: "pki".into(),
            out: ".".into(),
            force: false,
        };
        let mut request = Request::server("edge", &["localhost"]);
        let serve = usage(&arguments, &request);
        assert!(
            serve.contains("--tls-cert-path edge.crt --tls-key-path edge.key"),
            "{serve}"
        );
        assert!(!serve.contains("curl"), "{serve}");
        request.purpose = Purpose::Client;
        let connect = usage(&arguments, &request);
        assert_eq!(
            connect,
            "\nconnect with it\n  curl --cert edge.crt --key edge.key --cacert pki/root-ca.crt https://HOST:8443/\n"
        );
    }
}

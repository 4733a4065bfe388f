//! Which lockgate is meant, and how it is reached.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use rustls::{ClientConfig, pki_types::ServerName};

use super::Failure;
use crate::{
    admin::client::{Client, Target},
    cli::{EX_USAGE, RemoteArgs},
    commands::EXIT_CONFIG,
    config::{self, Address, Admin, Host, Pem, resolve::examine, value::listen_address},
    limits,
    tls::{self, Validity},
};

/// Where packages put them.
const CONFIG: &str = "/etc/lockgate/lockgate.toml";
const SOCKET: &str = "/run/lockgate/admin.sock";

pub(in crate::commands) fn client(arguments: &RemoteArgs) -> Result<Client, Failure> {
    choose(arguments, Path::new(CONFIG), Path::new(SOCKET))
}

/// What the arguments say, or what the file `config` says where there is one, or `socket`.
fn choose(arguments: &RemoteArgs, config: &Path, socket: &Path) -> Result<Client, Failure> {
    let mut token_file = arguments.token_file.clone();
    let target = if let Some(text) = &arguments.admin {
        named(text, arguments.admin_ca.as_deref())?
    } else {
        let admin = match &arguments.config {
            Some(path) => Some(of_file(path)?.ok_or_else(|| no_admin(path))?),
            None => of_file(config).ok().flatten(),
        };
        match admin {
            Some(admin) => {
                token_file = token_file.or(admin.token_file.clone());
                configured(&admin, arguments.admin_ca.as_deref())?
            }
            None => Target::Unix(socket.to_owned()),
        }
    };
    let token = match (&arguments.token_file, token_file) {
        (Some(path), _) => Some(read_token(path)?),
        // Whoever may not read it may still look.
        (None, Some(path)) => read_token(&path).ok(),
        (None, None) => None,
    };
    Ok(Client {
        target,
        token,
        patience: limits::ADMIN_ANSWER_TIMEOUT,
    })
}

fn read_token(path: &Path) -> Result<String, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(usage(format!("--token-file: {}: {error}", path.display()))),
    }
}

fn named(text: &str, authorities: Option<&Path>) -> Result<Target, Failure> {
    let Some(rest) = text.strip_prefix("https://") else {
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let address = listen_address(rest.trim_end_matches('/'), Path::new(""));
        let address = address
            .map_err(|fault| usage(format!("--admin: {}; {}", fault.message, fault.remedy)))?;
        return Ok(match address {
            Address::Tcp(address) => Target::Tcp(reachable(address)),
            Address::Unix(path) => Target::Unix(path),
        });
    };
    let wrong = || {
        let message = format!("--admin: {text:?} is not https://HOST:PORT");
        usage(message + "; write such as https://edge.example.com:9443")
    };
    let (host, port) = rest
        .trim_end_matches('/')
        .rsplit_once(':')
        .ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| wrong())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
    let Some(authorities) = authorities else {
        let remedy =
            "--admin-ca is missing: name the CA certificates that its certificate is verified with";
        return Err(usage(remedy.to_owned()));
    };
    Ok(Target::Tls {
        host: host.to_owned(),
        port,
        name,
        config: trusting(&Pem::file(authorities))?,
    })
}

/// The [admin] of a configuration file, whatever else is wrong with it.
fn of_file(path: &Path) -> Result<Option<Admin>, Failure> {
    let file = config::read(path).map_err(|problems| (EXIT_CONFIG, problems.to_string()))?;
    Ok(examine(&file, &Host::current()).partial.admin)
}

fn no_admin(path: &Path) -> Failure {
    let text = format!(
        "{}: has no usable [admin]; `lockgate check` tells more",
        path.display()
    );
    (EXIT_CONFIG, text)
}

fn configured(admin: &Admin, authorities: Option<&Path>) -> Result<Target, Failure> {
    let address = match &admin.listen {
        Address::Unix(path) => return Ok(Target::Unix(path.clone())),
        Address::Tcp(address) => reachable(*address),
    };
    let Some(source) = &admin.tls else {
        return Ok(Target::Tcp(address));
    };
    // Its own chain says whom to expect, and often who signed it.
    let loaded = tls::load(source, Validity::Warn).map_err(|error| {
        let remedy = "use --admin https://HOST:PORT and --admin-ca";
        (EXIT_CONFIG, format!("{error}; or {remedy}"))
    })?;
    let names = loaded.info.dns_names.iter();
    let name = names
        .filter_map(|name| ServerName::try_from(name.to_string()).ok())
        .next();
    let trusted = match authorities {
        Some(path) => &Pem::file(path),
        None => &source.certificate,
    };
    Ok(Target::Tls {
        host: address.ip().to_string(),
        port: address.port(),
        name: name.unwrap_or_else(|| ServerName::from(address.ip())),
        config: trusting(trusted)?,
    })
}

fn trusting(authorities: &Pem) -> Result<Arc<ClientConfig>, Failure> {
    tls::client_config(authorities).map_err(usage)
}

/// An address of this machine for one that means all of them.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn usage(text: String) -> Failure {
    (EX_USAGE, text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn chosen(arguments: RemoteArgs, config: &Path) -> Result<String, String> {
        let client = choose(&arguments, config, Path::new("/run/default.sock"));
        client
            .map(|client| client.target.to_string())
            .map_err(|(_, text)| text)
    }

    fn admin(text: &str) -> RemoteArgs {
        RemoteArgs {
            admin: Some(text.to_owned()),
            ..RemoteArgs::default()
        }
    }

    #[test]
    fn what_is_said_goes_before_the_file_and_the_file_before_the_default() {
        let folder = std::env::temp_dir().join(format!("lockgate-target-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("lockgate.toml");
        let default = |arguments| chosen(arguments, &file);
        assert_eq!(
            default(RemoteArgs::default()).unwrap(),
            "unix:/run/default.sock"
        );
        // Nothing else of it has to be right.
        fs::write(&file, "[admin]\nlisten = \"0.0.0.0:9443\"\n").unwrap();
        assert_eq!(default(RemoteArgs::default()).unwrap(), "127.0.0.1:9443");
        fs::write(&file, "[admin]\nlisten = \"unix:a.sock\"\n").unwrap();
        let socket = format!("unix:{}", folder.join("a.sock").display());
        assert_eq!(default(RemoteArgs::default()).unwrap(), socket);
        assert_eq!(default(admin("[::1]:1")).unwrap(), "[::1]:1");
        let named = |path: PathBuf| RemoteArgs {
            config: Some(path),
            ..RemoteArgs::default()
        };
        let elsewhere = Path::new("/nowhere");
        assert_eq!(chosen(named(file.clone()), elsewhere).unwrap(), socket);
        fs::write(&file, "").unwrap();
        let error = chosen(named(file), elsewhere).unwrap_err();
        assert!(error.contains("has no usable [admin]"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn https_needs_a_host_a_port_and_a_ca() {
        for (text, expected) in [
            ("https://edge:9443", "--admin-ca is missing"),
            ("https://edge", "is not https://HOST:PORT"),
            ("https://:1", "is not https://HOST:PORT"),
            ("nonsense", "--admin: "),
        ] {
            let error = chosen(admin(text), Path::new("/nowhere")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let same = chosen(admin("http://127.0.0.1:1/"), Path::new("/nowhere"));
        assert_eq!(same.unwrap(), "127.0.0.1:1");
    }
}

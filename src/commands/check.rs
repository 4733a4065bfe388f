//! `lockgate check`: would `run` accept this file? Every problem at once, and what would be served.
//!
//! It reads what the configuration names and opens no socket, so it may run beside a lockgate that
//! serves.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use super::EXIT_CONFIG;
use crate::{
    announce,
    cli::CheckArgs,
    config::{
        self, Config, FileConfig, Host, Offload, Place, Problem, Problems, Warning,
        file::{Given, ListenerSection},
        problem::Warnings,
        resolve::{Examined, examine},
    },
    tls::{CertifiedChain, TicketKeys, Validity, admin_tls, listener_tls},
};

pub fn run(arguments: &CheckArgs) -> ExitCode {
    let report = check(&arguments.config);
    // Whoever closed the output has the exit code.
    io::stderr().write_all(report.complaints.as_bytes()).ok();
    io::stdout().write_all(report.summary.as_bytes()).ok();
    match report.good {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_CONFIG),
    }
}

struct Report {
    good: bool,
    /// Problems and warnings.
    complaints: String,
    summary: String,
}

fn check(path: &Path) -> Report {
    match config::read(path) {
        Ok(file) => examined(path, &file),
        // Nothing can be read from it.
        Err(problems) => Report {
            good: false,
            complaints: format!("{problems}\n"),
            summary: verdict(path, problems.list.len(), 0),
        },
    }
}

fn examined(path: &Path, file: &FileConfig) -> Report {
    let Examined {
        partial: config,
        mut warnings,
        mut problems,
    } = examine(file, &Host::current());
    let certificates = read_certificates(file, &config, &mut problems, &mut warnings);
    read_admin_certificate(file, &config, &mut problems, &mut warnings);
    problems.sort_by_key(|problem| problem.place.line);
    warnings.sort_by_key(|warning| warning.place.line);
    let mut summary = verdict(path, problems.len(), warnings.len());
    let good = problems.is_empty();
    if good {
        let of_listener = |name: &str| {
            let chains = certificates
                .get(name)
                .into_iter()
                .flat_map(|all| all.iter());
            chains.map(|chain| &chain.info).collect()
        };
        summary.push('\n');
        summary.push_str(&announce::text(&config, of_listener, offload(&config)));
    }
    let mut complaints = String::new();
    if !good {
        let problems = Problems {
            file: Some(path.to_owned()),
            list: problems,
        };
        complaints.push_str(&format!("{problems}\n"));
    }
    if !warnings.is_empty() {
        let warnings = Warnings {
            file: Some(path),
            list: &warnings,
        };
        complaints.push_str(&format!("{warnings}\n"));
    }
    Report {
        good,
        complaints,
        summary,
    }
}

/// Reads the files of every listener that has no problem yet.
fn read_certificates(
    file: &FileConfig,
    config: &Config,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
) -> HashMap<String, Arc<[Arc<CertifiedChain>]>> {
    let tickets = TicketKeys::new();
    let mut certificates = HashMap::new();
    for listener in &config.listeners {
        let Some(section) = section(file, &listener.name) else {
            continue;
        };
        // What was left out for a problem would shift the others' indices.
        let owner = &section.place.owner;
        if problems.iter().any(|problem| problem.place.owner == *owner) {
            continue;
        }
        match listener_tls(listener, &tickets, Validity::Enforce) {
            Ok(tls) => {
                warnings.extend(tls.warnings.iter().map(|text| warning(section, text)));
                certificates.insert(listener.name.clone(), tls.certificates);
            }
            Err(errors) => problems.extend(errors.into_iter().map(|error| Problem {
                place: section.place_of(&error.key),
                message: error.message,
                remedy: String::new(),
            })),
        }
    }
    certificates
}

fn read_admin_certificate(
    file: &FileConfig,
    config: &Config,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
) {
    let source = config.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    let section = file.admin.as_ref().and_then(|admin| admin.tls.as_ref());
    let (Some(source), Some(section)) = (source, section) else {
        return;
    };
    match admin_tls(source, Validity::Enforce) {
        Ok(tls) => warnings.extend(tls.warnings.into_iter().map(|message| Warning {
            place: section.place.clone(),
            message,
            remedy: String::new(),
        })),
        Err(error) => problems.push(Problem {
            place: section.place.key(&error.key),
            message: error.message,
            remedy: String::new(),
        }),
    }
}

fn section<'f>(file: &'f FileConfig, name: &str) -> Option<&'f ListenerSection> {
    let named =
        |section: &&ListenerSection| matches!(&section.name.given, Given::Value(n) if n == name);
    file.listeners.list.iter().find(named)
}

/// A warning begins with its key.
fn warning(section: &ListenerSection, text: &str) -> Warning {
    let (place, message) = match text.split_once(": ") {
        Some((key, message)) if !key.contains(' ') => (section.place_of(key), message),
        _ => (Place::clone(&section.place), text),
    };
    Warning {
        place,
        message: message.to_owned(),
        remedy: String::new(),
    }
}

fn verdict(path: &Path, problems: usize, warnings: usize) -> String {
    let count = |count: usize, what: &str| match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let (problems, warnings) = (count(problems, "problem"), count(warnings, "warning"));
    format!("{}: {problems}, {warnings}\n", path.display())
}

fn offload(config: &Config) -> &'static str {
    match config.runtime.offload {
        Offload::Auto => "auto; `lockgate probe` tells what this kernel can do, and what it costs",
        Offload::Bulk => "bulk; `lockgate probe` tells what this kernel can do",
        Offload::Required => "required; `lockgate probe` tells what this kernel can do",
        Offload::Off => "off",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::pki::{Authority, Request};

    const LISTENERS: &str = r#"
[[listener]]
name = "edge"
listen = "127.0.0.1:8443"
backend = "app"
certificates = [{ certificate_file = "edge.crt", key_file = "edge.key" }]
client_auth = { mode = "required", ca_file = "root-ca.crt" }

[[listener]]
name = "inner"
listen = "127.0.0.1:8444"
backend = "app"
certificates = [
  { certificate_file = "edge.crt", key_file = "edge.key" },
  { certificate_file = "edge.crt", key_file = "root-ca.key" },
]

[[backend]]
name = "app"
servers = "127.0.0.1:8080"
"#;

    /// A folder with a CA, `edge.crt`, `edge.key` and `lockgate.toml`.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, text: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("lockgate-check-{name}-{}", std::process::id()));
            fs::remove_dir_all(&path).ok();
            let authority = Authority::create("Example").expect("made");
            authority.save(&path, false).expect("saved");
            let issued = authority
                .issue(&Request::server("edge", &["localhost"]))
                .expect("issued");
            issued.save(&path, "edge", false).expect("saved");
            fs::write(path.join("lockgate.toml"), text).expect("written");
            Folder(path)
        }

        fn check(&self) -> Report {
            check(&self.0.join("lockgate.toml"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn a_good_file_is_summed_up_with_its_certificates() {
        let text = LISTENERS.replace("root-ca.key", "edge.key");
        let folder = Folder::new("good", &text);
        let report = folder.check();
        assert!(report.good, "{}", report.complaints);
        assert!(
            report.summary.contains("lockgate.toml: no problems, "),
            "{}",
            report.summary
        );
        for expected in [
            "listener       edge",
            "names      localhost",
            "CN=Example Intermediate CA",
        ] {
            assert!(
                report.summary.contains(expected),
                "{expected}: {}",
                report.summary
            );
        }
    }

    #[test]
    fn problems_of_the_file_and_of_what_it_names_come_together() {
        let folder = Folder::new("bad", &format!("[runtime]\noffload = \"on\"\n{LISTENERS}"));
        let report = folder.check();
        assert!(!report.good);
        assert!(
            report.summary.contains("lockgate.toml: 2 problems, "),
            "{}",
            report.summary
        );
        let place = |line: usize, place: &str| {
            format!(
                "{}:{line}: {place}\n",
                folder.0.join("lockgate.toml").display()
            )
        };
        for expected in [
            place(2, "runtime.offload"),
            place(
                17,
                "listener[1].certificates[1].key_file (listener \"inner\")",
            ),
        ] {
            assert!(
                report.complaints.contains(&expected),
                "{expected}: {}",
                report.complaints
            );
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_a_problem_with_its_line() {
        let folder = Folder::new("syntax", "[runtime]\noffload = ?\n");
        let report = folder.check();
        assert!(!report.good);
        assert!(
            report.complaints.contains("lockgate.toml:2:"),
            "{}",
            report.complaints
        );
    }
}

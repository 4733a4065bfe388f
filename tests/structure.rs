//! The rules of `src/lib.rs` on who may know whom, checked against the source.

#![allow(
    clippy::unwrap_used,
    reason = "a file that cannot be read is a failed test"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src")
            .join(folder),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no source in {folder}");
    found
}

/// Lines of code that name one of `words`.
fn naming(folder: &str, words: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, text) in sources(folder) {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            if words.iter().any(|word| line.contains(word)) {
                lines.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    lines
}

/// `use crate::{control, ..}` as rustfmt writes it, and full paths.
fn importing(folder: &str, module: &str) -> Vec<String> {
    let direct = format!("crate::{module}::");
    let mut found = naming(folder, &[&direct]);
    for (path, text) in sources(folder) {
        let mut depth = 0;
        for line in text.lines() {
            if line.starts_with("use crate::{") {
                depth = 1;
            }
            let grouped = line.trim_start().trim_start_matches("use crate::{");
            if depth > 0
                && (grouped.starts_with(&format!("{module}::"))
                    || grouped.contains(&format!(" {module}::")))
            {
                found.push(format!("{}: {}", path.display(), line.trim()));
            }
            if line.starts_with("};") || line.ends_with("};") {
                depth = 0;
            }
        }
    }
    found
}

#[test]
fn system_calls_know_nothing_of_ours() {
    assert_eq!(naming("sys", &["crate::"]), [""; 0]);
}

#[test]
fn the_planes_of_data_know_no_control() {
    for folder in ["sys", "tls", "config", "relay", "handshake", "backend"] {
        for module in ["control", "admin", "commands", "cli", "metrics"] {
            assert_eq!(
                importing(folder, module),
                [""; 0],
                "{folder} knows {module}"
            );
        }
    }
}

#[test]
fn tls_and_configuration_know_no_sockets() {
    for folder in ["tls", "config"] {
        for module in ["relay", "handshake", "backend", "sys::socket", "sys::ring"] {
            assert_eq!(
                importing(folder, module),
                [""; 0],
                "{folder} knows {module}"
            );
        }
    }
    assert_eq!(importing("relay", "handshake"), [""; 0]);
}

#[test]
fn unsafe_is_in_one_folder() {
    for (path, text) in sources("") {
        let inside = path.components().any(|part| part.as_os_str() == "sys");
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let unsafe_lines: Vec<_> = code.filter(|line| line.contains("unsafe ")).collect();
        assert!(
            inside || unsafe_lines.is_empty(),
            "{}: {unsafe_lines:?}",
            path.display()
        );
    }
}

#[test]
fn the_rules_would_notice() {
    assert!(!importing("handshake", "relay").is_empty());
    assert!(!importing("commands", "control").is_empty());
}

//! From what was written to what the program runs on: every value checked, every default filled in.
//!
//! Nothing stops at the first problem. A function that cannot make its value has reported why and
//! returns `None`; when nothing was reported, everything was made.

mod admin;
mod fields;
mod listener;
mod relations;

use std::{path::PathBuf, time::Duration};

use super::{
    Audit, Backend, Config, Limits, Log, LogFormat, Offload, Runtime, Telemetry, Waiter,
    file::{
        AuditSection, BackendSection, FileConfig, Given, LimitsSection, LogSection, Number,
        RuntimeSection, TelemetrySection, Text,
    },
    host::Host,
    problem::{Problem, Problems, Warning},
    value,
};
use crate::limits;

/// The configuration, or all that is wrong with it.
pub fn resolve(file: FileConfig, host: &Host) -> Result<(Config, Vec<Warning>), Problems> {
    let examined = examine(&file, host);
    match examined.problems.is_empty() {
        true => Ok((examined.partial, examined.warnings)),
        false => Err(Problems {
            file: file.file,
            list: examined.problems,
        }),
    }
}

/// A configuration to look at, not to run on.
pub struct Examined {
    /// Without the listeners and backends that have problems.
    pub partial: Config,
    pub warnings: Vec<Warning>,
    pub problems: Vec<Problem>,
}

/// For who wants to go on after problems, to find more: `lockgate check`.
pub fn examine(file: &FileConfig, host: &Host) -> Examined {
    let mut resolver = Resolver {
        problems: file.problems.clone(),
        warnings: Vec::new(),
        file,
        host,
    };
    let partial = Config {
        runtime: resolver.runtime(&file.runtime),
        limits: resolver.limits(&file.limits),
        log: resolver.log(&file.log),
        audit: resolver.audit(file.audit.as_ref()),
        admin: resolver.admin(file.admin.as_ref()),
        telemetry: resolver.telemetry(file.telemetry.as_ref()),
        listeners: resolver.listeners(),
        backends: resolver.backends(),
    };
    resolver.relations();
    let Resolver {
        mut problems,
        mut warnings,
        ..
    } = resolver;
    problems.sort_by_key(|problem| problem.place.line);
    warnings.sort_by_key(|warning| warning.place.line);
    Examined {
        partial,
        warnings,
        problems,
    }
}

struct Resolver<'f> {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    file: &'f FileConfig,
    host: &'f Host,
}

// The sections that are there once.
impl<'f> Resolver<'f> {
    fn runtime(&mut self, section: &RuntimeSection) -> Runtime {
        let offload = Offload::ALL.map(|offload| (offload.name(), offload));
        const WAITER: [(&str, Waiter); 2] = [("auto", Waiter::Auto), ("epoll", Waiter::Epoll)];
        Runtime {
            offload: self.choice(&section.offload, &offload, Offload::Auto),
            handshake_threads: self.threads(&section.handshake_threads),
            relay_threads: self.threads(&section.relay_threads),
            waiter: self.choice(&section.waiter, &WAITER, Waiter::Auto),
        }
    }

    /// Half of the cores for each of the two planes, unless the operator says otherwise.
    fn threads(&mut self, field: &Number) -> usize {
        match self.number(field, 0..=limits::THREADS_MAX, 0) {
            0 => (self.host.cores / 2).clamp(1, limits::THREADS_MAX),
            threads => threads,
        }
    }

    /// The default bound, or less where so many files may not be open: two sockets a connection, and
    /// some for pipes and listeners.
    fn connections_that_fit(&self) -> usize {
        let fitting = self
            .host
            .descriptors
            .saturating_sub(limits::DESCRIPTORS_RESERVED)
            / 2;
        usize::try_from(fitting)
            .unwrap_or(usize::MAX)
            .clamp(1, limits::CONNECTIONS)
    }

    fn limits(&mut self, section: &LimitsSection) -> Limits {
        let records = limits::RECORDS_PER_KEY_MIN..=limits::RECORDS_PER_KEY_MAX;
        let lifetime = Duration::ZERO..=limits::TIMEOUT_MAX;
        Limits {
            connections: self.number(
                &section.connections,
                1..=limits::CONNECTIONS_MAX,
                self.connections_that_fit(),
            ),
            handshake_timeout: self.timeout(&section.handshake_timeout, limits::HANDSHAKE_TIMEOUT),
            connect_timeout: self.timeout(&section.connect_timeout, limits::CONNECT_TIMEOUT),
            idle_timeout: self.timeout(&section.idle_timeout, limits::IDLE_TIMEOUT),
            half_closed_timeout: self
                .timeout(&section.half_closed_timeout, limits::HALF_CLOSED_TIMEOUT),
            lifetime: Some(self.duration(&section.lifetime, lifetime, Duration::ZERO))
                .filter(|lifetime| !lifetime.is_zero()),
            drain_timeout: self.timeout(&section.drain_timeout, limits::DRAIN_TIMEOUT),
            records_per_key: self.number(
                &section.records_per_key,
                records,
                limits::RECORDS_PER_KEY,
            ),
        }
    }

    fn log(&mut self, section: &LogSection) -> Log {
        const FORMAT: [(&str, LogFormat); 2] =
            [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let level = match &section.level.given {
            Given::Value(level) => {
                if let Err(fault) = value::log_level(level) {
                    self.fault(&section.level.place, fault);
                }
                level.clone()
            }
            Given::Absent | Given::Refused => "info".to_owned(),
        };
        Log {
            level,
            format: self.choice(&section.format, &FORMAT, LogFormat::Text),
            file: self.output_file(&section.file),
            lines_per_second: self.number(
                &section.lines_per_second,
                1..=limits::LOG_LINES_PER_SECOND_MAX,
                limits::LOG_LINES_PER_SECOND,
            ),
        }
    }

    fn audit(&mut self, section: Option<&AuditSection>) -> Option<Audit> {
        let section = section?;
        if self.required(&section.file, "/var/log/lockgate/audit.json")? == "stdout" {
            return Some(Audit::Stdout);
        }
        let file = self.output_file(&section.file)?;
        if let Given::Value(log) = &self.file.log.file.given
            && self.file.base.join(log) == file
        {
            self.report(
                &section.file.place,
                "is the log's file as well",
                "write audit events into a file of their own",
            );
        }
        Some(Audit::File(file))
    }

    /// A file that will be written.
    fn output_file(&mut self, field: &Text) -> Option<PathBuf> {
        let Given::Value(text) = &field.given else {
            return None;
        };
        if text.is_empty() || text.ends_with('/') {
            self.report(
                &field.place,
                format!("{text:?} names no file"),
                "write the path of a file, in a folder that is there",
            );
        }
        Some(self.file.base.join(text))
    }

    fn telemetry(&mut self, section: Option<&TelemetrySection>) -> Option<Telemetry> {
        let section = section?;
        let interval = self.duration(
            &section.interval,
            limits::TELEMETRY_INTERVAL_MIN..=limits::TELEMETRY_INTERVAL_MAX,
            limits::TELEMETRY_INTERVAL,
        );
        let field = &section.otlp_endpoint;
        let text = self.required(field, "http://127.0.0.1:4318/v1/metrics")?;
        Some(Telemetry {
            otlp_endpoint: self.checked(&field.place, value::otlp_endpoint(text))?,
            interval,
        })
    }

    fn backends(&mut self) -> Vec<Backend> {
        let entries = &self.file.backends;
        self.entries(
            &entries.place,
            entries.list.len(),
            limits::BACKENDS_MAX,
            entries.refused,
        );
        entries
            .list
            .iter()
            .filter_map(|section| self.backend(section))
            .collect()
    }

    fn backend(&mut self, section: &BackendSection) -> Option<Backend> {
        let name = self.name(&section.name, "app");
        let servers = self.items(
            &section.servers,
            limits::SERVERS_PER_BACKEND_MAX,
            "127.0.0.1:8080",
            |resolver, text| value::server(text, &resolver.file.base),
        );
        let servers = servers?;
        for (index, (place, server)) in servers.iter().enumerate() {
            if servers[..index]
                .iter()
                .any(|(_, earlier)| earlier == server)
            {
                self.warn(
                    place,
                    format!("{server} is listed twice and gets a double share"),
                    "leave one of them out".to_owned(),
                );
            }
        }
        Some(Backend {
            name: name?,
            servers: servers.into_iter().map(|(_, server)| server).collect(),
        })
    }
}

#[cfg(test)]
mod tests;

//! What only shows when parts are compared: names, addresses, backends, one limit with another.

use std::time::Duration;

use super::Resolver;
use crate::{
    config::{
        Address,
        file::{Given, Text},
        problem::Place,
        spelling,
        value::{self, duration_text},
    },
    limits,
};

impl Resolver<'_> {
    pub fn relations(&mut self) {
        self.unique_names();
        self.known_backends();
        self.addresses();
        self.limits_against_each_other();
    }

    fn unique_names(&mut self) {
        let file = self.file;
        let listeners: Vec<&Text> = file
            .listeners
            .list
            .iter()
            .map(|section| &section.name)
            .collect();
        let backends: Vec<&Text> = file
            .backends
            .list
            .iter()
            .map(|section| &section.name)
            .collect();
        for names in [listeners, backends] {
            let mut seen: Vec<(&str, &Place)> = Vec::new();
            for field in names {
                let Given::Value(name) = &field.given else {
                    continue;
                };
                match seen.iter().find(|(earlier, _)| earlier == name) {
                    Some((_, earlier)) => self.report(
                        &field.place,
                        format!("{name:?} is taken by {}", earlier.path),
                        "choose another name",
                    ),
                    None => seen.push((name, &field.place)),
                }
            }
        }
    }

    fn known_backends(&mut self) {
        let file = self.file;
        let text = |field| match field {
            &Text {
                given: Given::Value(ref text),
                ..
            } => Some(text.as_str()),
            _ => None,
        };
        let known: Vec<&str> = file
            .backends
            .list
            .iter()
            .filter_map(|b| text(&b.name))
            .collect();
        let mut used: Vec<&str> = Vec::new();
        for field in file.listeners.list.iter().map(|section| &section.backend) {
            let Some(wanted) = text(field) else {
                continue;
            };
            used.push(wanted);
            // Without a single name to compare with, that is the problem, and it is reported.
            if known.contains(&wanted) || known.is_empty() {
                continue;
            }
            let remedy = match spelling::nearest(wanted, known.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!(
                    "add a [[backend]] of that name, or use one of {}",
                    spelling::list(known.iter().copied())
                ),
            };
            self.report(
                &field.place,
                format!("no backend is named {wanted:?}"),
                remedy,
            );
        }
        for section in &file.backends.list {
            if let Some(name) = text(&section.name)
                && !used.contains(&name)
            {
                self.warn(
                    &section.name.place,
                    format!("no listener uses the backend {name:?}"),
                    "name it in a listener, or remove it".to_owned(),
                );
            }
        }
    }

    /// No address twice, and none that this process may not listen on.
    fn addresses(&mut self) {
        let file = self.file;
        let lists = file
            .listeners
            .list
            .iter()
            .filter_map(|section| match &section.listen.given {
                Given::Value(items) => Some(items),
                Given::Absent | Given::Refused => None,
            });
        let fields = lists
            .flatten()
            .chain(file.admin.iter().map(|section| &section.listen));
        let mut seen: Vec<(Address, &Place)> = Vec::new();
        for field in fields {
            // What does not parse was reported where it is resolved.
            let Given::Value(text) = &field.given else {
                continue;
            };
            let Ok(address) = value::listen_address(text, &file.base) else {
                continue;
            };
            self.privileged_port(&field.place, &address);
            let any_port = matches!(&address, Address::Tcp(address) if address.port() == 0);
            match seen
                .iter()
                .find(|(earlier, _)| *earlier == address && !any_port)
            {
                Some((_, earlier)) => self.report(
                    &field.place,
                    format!("{address} is listened on by {} already", earlier.path),
                    "remove it here or there",
                ),
                None => seen.push((address, &field.place)),
            }
        }
    }

    fn privileged_port(&mut self, place: &Place, address: &Address) {
        let Address::Tcp(address) = address else {
            return;
        };
        if (1..self.host.lowest_port).contains(&address.port()) {
            self.warn(
                place,
                format!(
                    "this process may not listen on ports below {}",
                    self.host.lowest_port
                ),
                "grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit), or choose a higher port"
                    .to_owned(),
            );
        }
    }

    fn limits_against_each_other(&mut self) {
        let section = &self.file.limits;
        let given = |field: &Text| match &field.given {
            Given::Value(text) => value::duration(text).ok(),
            Given::Absent | Given::Refused => None,
        };
        if let Some(handshake) = given(&section.handshake_timeout)
            && handshake > limits::HANDSHAKE_TIMEOUT_LONG
        {
            self.warn(
                &section.handshake_timeout.place,
                format!(
                    "clients may take {} to finish a handshake, and hold a connection meanwhile",
                    duration_text(handshake)
                ),
                format!(
                    "{} is enough for slow ones",
                    duration_text(limits::HANDSHAKE_TIMEOUT)
                ),
            );
        }
        let Some(lifetime) = given(&section.lifetime).filter(|lifetime| *lifetime > Duration::ZERO)
        else {
            return;
        };
        for field in [
            &section.handshake_timeout,
            &section.idle_timeout,
            &section.half_closed_timeout,
        ] {
            if given(field).is_some_and(|timeout| timeout >= lifetime) {
                self.warn(
                    &field.place,
                    format!(
                        "never runs out: lifetime ends a connection after {}",
                        duration_text(lifetime)
                    ),
                    "make it shorter than lifetime, or remove it".to_owned(),
                );
            }
        }
    }
}

//! `[admin]`: where the program can be looked at, and by whom.

use super::Resolver;
use crate::config::{
    Address, Admin,
    file::{AdminSection, Given},
    value,
};

/// Who is meant to reach the address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Local,
    Remote,
}

impl Resolver<'_> {
    /// Whoever reaches the address reads metrics, so it does not leave the machine by accident, and
    /// neither without encryption nor to somebody without the token.
    pub(super) fn admin(&mut self, section: Option<&AdminSection>) -> Option<Admin> {
        const ACCESS: [(&str, Access); 2] = [("local", Access::Local), ("remote", Access::Remote)];
        let section = section?;
        let access = self.choice(&section.access, &ACCESS, Access::Local);
        let tls = match &section.tls {
            Some(tls) => Some(self.certificate(tls)?),
            None => None,
        };
        let token_file = match &section.token_file.given {
            Given::Value(path) => Some(self.file.base.join(path)),
            Given::Absent | Given::Refused => None,
        };
        let field = &section.listen;
        let text = self.required(field, "127.0.0.1:9443")?;
        let listen = self.checked(&field.place, value::listen_address(text, &self.file.base))?;
        match &listen {
            Address::Tcp(address) if !address.ip().is_loopback() => {
                if access == Access::Local {
                    let remedy = format!(
                        "write \"127.0.0.1:{}\" or \"unix:/run/lockgate/admin.sock\"; if that is meant, add access = \"remote\", tls and token_file",
                        address.port()
                    );
                    let message = format!("{address} can be reached from other machines");
                    self.report(&field.place, message, remedy);
                } else if section.tls.is_none() || token_file.is_none() {
                    self.report(
                        &section.access.place,
                        "other machines need TLS and a token",
                        "add tls = { certificate_file = \"admin.crt\", key_file = \"admin.key\" } and token_file = \"admin.token\"",
                    );
                }
            }
            Address::Tcp(_) => {}
            Address::Unix(_) => {
                if let Some(tls) = &section.tls {
                    let message = "a unix socket is guarded by its permissions, and has no TLS";
                    self.report(&tls.place, message, "remove it");
                }
            }
        }
        Some(Admin {
            listen,
            token_file,
            tls,
        })
    }
}

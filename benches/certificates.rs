//! Thousands of certificates in a folder, for scripts/reload-bench; `pki issue` makes one at a time.
//!
//! ```text
//!   certificates CA COUNT FOLDER...
//! ```
//!
//! CA is a folder of `lockgate pki init`. Each FOLDER gets NAME.crt, NAME.key and NAME.pem with both
//! for n0.test, n1.test, ...; in every folder for the same names, with other keys.

use std::{error::Error, fs, path::Path};

use lockgate::pki::{Authority, Request};

const COUNT_MAX: usize = 65_536;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ca, count, folders @ ..] = &arguments[..] else {
        return Err("usage: certificates CA COUNT FOLDER...".into());
    };
    let count: usize = count.parse()?;
    if count > COUNT_MAX {
        return Err(format!("{count} are too many: at most {COUNT_MAX}").into());
    }
    let authority = Authority::open(Path::new(ca))?;
    for folder in folders {
        fs::create_dir_all(folder)?;
        for number in 0..count {
            let name = format!("n{number}");
            let request = Request::server(&name, &[&format!("{name}.test")]);
            let issued = authority.issue(&request)?;
            let path = |extension: &str| Path::new(folder).join(format!("{name}.{extension}"));
            fs::write(path("crt"), &issued.certificate_pem)?;
            fs::write(path("key"), &*issued.key_pem)?;
        }
    }
    Ok(())
}

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::*;

/// Certificate and key in files, for as long as it lives.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("lockgate-{name}-{}", std::process::id()));
        fs::remove_dir_all(&base).ok();
        fs::create_dir_all(&base).unwrap();
        Files(base)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn put(&self, name: &str, leaf: &Leaf) -> CertificateSource {
        let certificate = self.path(&format!("{name}.crt"));
        let key = self.path(&format!("{name}.key"));
        fs::write(&certificate, leaf.certificate.pem()).unwrap();
        fs::write(&key, leaf.key.serialize_pem()).unwrap();
        CertificateSource {
            certificate: Pem::file(certificate),
            key: Pem::file(key),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn load(listener: &Listener, loaded: &mut Loaded) -> Result<Arc<[Arc<CertifiedChain>]>, String> {
    match listener_tls_again(listener, &TicketKeys::new(), Validity::Enforce, loaded) {
        Ok(tls) => Ok(tls.certificates),
        Err(errors) => Err(errors.iter().map(|error| format!("{error}\n")).collect()),
    }
}

#[test]
fn only_what_is_forgotten_is_read_again() {
    let files = Files::new("loaded");
    let pki = Pki::new("ca");
    let sources = ["a", "b"].map(|name| files.put(name, &pki.server(&[&format!("{name}.test")])));
    let mut listener = listener(sources.to_vec());
    let mut loaded = Loaded::default();
    let first = load(&listener, &mut loaded).unwrap();

    // Nobody said that they have changed, and they are not even looked at.
    let other = pki.server(&["a.test"]);
    files.put("a", &other);
    fs::remove_file(files.path("b.key")).unwrap();
    let again = load(&listener, &mut loaded).unwrap();
    assert!((0..2).all(|index| Arc::ptr_eq(&again[index], &first[index])));

    loaded.forget(&HashSet::from([files.path("a.key").into()]));
    let second = load(&listener, &mut loaded).unwrap();
    assert_ne!(second[0].info, first[0].info);
    assert!(Arc::ptr_eq(&second[1], &first[1]));

    // In another order, with another one: those that are there stay.
    let third = files.put("c", &pki.server(&["c.test"]));
    listener.certificates = [third, sources[1].clone(), sources[0].clone()].into();
    listener.certificates_named = 3;
    let again = load(&listener, &mut loaded).unwrap();
    assert!(Arc::ptr_eq(&again[1], &second[1]) && Arc::ptr_eq(&again[2], &second[0]));

    // One that is wrong is wrong until it is right, and does not cost the others.
    loaded.forget(&HashSet::from([files.path("b.crt").into()]));
    for _ in 0..2 {
        let problems = load(&listener, &mut loaded).err().unwrap();
        assert!(
            problems.starts_with("certificates[1].key_file: "),
            "{problems}"
        );
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    files.put("b", &pki.server(&["b.test"]));
    let last = load(&listener, &mut loaded).unwrap();
    assert!(Arc::ptr_eq(&last[2], &second[0]));

    // What other listeners had is not kept.
    loaded.keep_only(&[]);
    assert!(!Arc::ptr_eq(
        &load(&listener, &mut loaded).unwrap()[2],
        &second[0]
    ));
}

#[test]
fn many_are_read_side_by_side_with_all_problems() {
    let files = Files::new("many");
    let pki = Pki::new("ca");
    let leaf = pki.server(&["a.test"]);
    let count = 3 * crate::limits::CERTIFICATES_PER_LOADER;
    let sources: Vec<_> = (0..count)
        .map(|number| files.put(&format!("n{number}"), &leaf))
        .collect();
    let listener = listener(sources);
    let bad = [0, count / 2, count - 1];
    for number in bad {
        fs::write(files.path(&format!("n{number}.crt")), "nothing").unwrap();
    }
    let mut loaded = Loaded::default();
    let problems = load(&listener, &mut loaded).err().unwrap();
    let keys: Vec<&str> = problems
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let expected = bad.map(|number| format!("certificates[{number}].certificate_file"));
    assert_eq!(keys, expected);
    for number in bad {
        files.put(&format!("n{number}"), &leaf);
    }
    let certificates = load(&listener, &mut loaded).unwrap();
    assert_eq!(certificates.len(), count);
}

#[test]
fn a_certificate_expires_without_being_read_again() {
    let files = Files::new("expiry");
    let pki = Pki::new("ca");
    let until = SystemTime::now() + Duration::from_secs(2);
    let mut params = params(&["a.test"]);
    params.not_after = until.into();
    let leaf = pki.sign(params, &PKCS_ECDSA_P256_SHA256);
    let listener = listener(vec![files.put("a", &leaf)]);
    let mut loaded = Loaded::default();
    load(&listener, &mut loaded).unwrap();
    let problems = loop {
        match load(&listener, &mut loaded) {
            Ok(_) => assert!(
                SystemTime::now() < until + Duration::from_secs(3),
                "still taken"
            ),
            Err(problems) => break problems,
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(
        problems.contains("the certificate expired on"),
        "{problems}"
    );
}

#[test]
fn of_a_folder_messages_name_the_folder_and_the_file() {
    let files = Files::new("of-folder");
    let pki = Pki::new("ca");
    let named = files.put("a", &pki.server(&["a.test"]));
    let found = files.put("b", &pki.server(&["a.test"]));
    let mut listener = listener(vec![named, found]);
    listener.certificates_named = 1;
    listener.certificates_dir = Some(files.0.clone());
    let built = listener_tls(&listener, &TicketKeys::new(), Validity::Enforce);
    let warnings = built.unwrap_or_else(|errors| panic!("{errors:?}")).warnings;
    let file = files.path("b.crt").display().to_string();
    assert_eq!(
        warnings,
        [format!(
            "certificates_dir: {file}: never used for a.test: certificates[0] is for the same name \
             with the same kind of key and comes first"
        )]
    );
    fs::write(files.path("b.key"), "").unwrap();
    let problems = load(&listener, &mut Loaded::default()).err().unwrap();
    assert!(problems.starts_with("certificates_dir: "), "{problems}");
    assert!(
        problems.contains("b.key: holds no PEM private key"),
        "{problems}"
    );
}

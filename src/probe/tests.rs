use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::*;

/// A folder that ends with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("lockgate-probe-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("its folder");
        fs::write(path, text).expect("a file for the test");
    }

    fn files(&self) -> Files {
        Files::new(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn os_error(code: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(code)
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// Whether this test runs alone in a process of its own; where not, it does so now.
fn alone(test: &str) -> bool {
    const MARK: &str = "LOCKGATE_TEST_ALONE";
    if env::var_os(MARK).is_some() {
        return true;
    }
    let status = Command::new(env::current_exe().expect("our own path"))
        .args(["--exact", &format!("probe::tests::{test}"), "--nocapture"])
        .env(MARK, "1")
        .status()
        .expect("the test binary runs");
    assert!(status.success(), "{test} failed");
    false
}

#[test]
fn probing_leaves_no_descriptor_behind() {
    if !alone("probing_leaves_no_descriptor_behind") {
        return;
    }
    // The first may load what libraries keep open.
    drop(Kernel::probe());
    let before = open_descriptors();
    for _ in 0..3 {
        drop(Kernel::probe());
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn probing_is_quick() {
    let started = Instant::now();
    let kernel = Kernel::probe();
    let took = started.elapsed();
    println!("probed in {took:?}: {}", kernel.data_path(Offload::Auto));
    // A few milliseconds where nothing else runs; the rest is for busy machines.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_machine_without_proc_is_probed_all_the_same() {
    let nothing = Folder::new("nothing");
    let kernel = Kernel::probe_at(&nothing.0);
    assert_eq!(kernel.pipes.pages_soft, None);
    assert_eq!(kernel.pipes.full_size(), None);
    assert_eq!(kernel.descriptors.listen_queue, None);
    assert!(kernel.descriptors.hard > 0);
    assert!(kernel.table().contains("no known bound on their number"));
}

#[test]
fn kernel_tls_is_there_or_there_is_a_reason() {
    let kernel = Kernel::probe();
    assert_eq!(kernel.has_kernel_tls(), kernel.tls.is_ok());
    match &kernel.tls {
        Ok(tls) => {
            assert_eq!(tls.suites.len(), 6);
            assert!(tls.suites.iter().any(|suite| suite.works.is_ok()));
            for suite in &tls.suites {
                let offloads = kernel.offloads(suite.version, suite.cipher);
                assert_eq!(offloads, suite.works.is_ok(), "{suite}");
            }
            assert_eq!(kernel.can_update_keys(), tls.rekey);
        }
        Err(why) => {
            assert!(!why.is_empty());
            assert!(!kernel.can_update_keys());
            assert!(!kernel.offloads(TlsVersion::Tls13, Cipher::Aes128Gcm));
            assert!(
                kernel
                    .data_path(Offload::Auto)
                    .starts_with(&format!("data path: user space, because {why}"))
            );
        }
    }
}

/// `LOCKGATE_GUEST` names the kernel line under which the tests run.
#[test]
fn known_kernels_are_told_apart() {
    let expected = match env::var("LOCKGATE_GUEST").as_deref() {
        Ok("6.1") => (false, true, false, true),
        Ok("7") => (true, false, true, false),
        _ => {
            println!("SKIPPED: not in a guest of scripts/guest");
            return;
        }
    };
    let kernel = Kernel::probe();
    let tls = kernel.tls.as_ref().expect("the guest has kernel TLS");
    let loses_bytes = tls.loses_bytes == Ok(true);
    let announces = tls.announces_next_record;
    let found = (tls.rekey, loses_bytes, tls.no_padding, announces);
    assert_eq!(found, expected);
    assert!(tls.refused().next().is_none(), "{tls:?}");
    assert_eq!(
        kernel
            .warnings
            .iter()
            .any(|text| text == byte_loss::WARNING),
        expected.1
    );
}

#[test]
fn a_missing_module_is_told_from_a_kernel_without_tls() {
    let enoent = os_error(libc::ENOENT);
    let folder = Folder::new("modules");
    let reason = || remedy::no_tls(&enoent, &folder.files(), "1.2.3");
    assert!(reason().contains("container"), "{}", reason());
    folder.write(
        "boot/config-1.2.3",
        "CONFIG_NET=y\n# CONFIG_TLS is not set\n",
    );
    assert!(reason().contains("built without TLS"), "{}", reason());
    folder.write("boot/config-1.2.3", "CONFIG_NET=y\nCONFIG_TLS=m\n");
    assert!(reason().contains("not installed"), "{}", reason());
    folder.write(
        "lib/modules/1.2.3/modules.dep",
        "kernel/net/tls/tls.ko.xz:\n",
    );
    assert!(reason().contains("modprobe tls"), "{}", reason());
}

#[test]
fn a_refused_ring_names_the_setting_that_refuses_it() {
    let folder = Folder::new("ring");
    let reason = |code| remedy::no_io_uring(&os_error(code), &folder.files());
    assert!(reason(libc::EPERM).contains("security module"));
    folder.write("proc/self/status", "Name:\tx\nSeccomp:\t2\n");
    assert!(reason(libc::EPERM).contains("seccomp filter refuses"));
    assert!(reason(libc::ENOSYS).contains("seccomp filter refuses"));
    folder.write("proc/sys/kernel/io_uring_disabled", "1\n");
    assert!(reason(libc::EPERM).contains("io_uring_group"));
    folder.write("proc/sys/kernel/io_uring_disabled", "2\n");
    assert!(reason(libc::EPERM).contains("io_uring_disabled is 2"));
    assert!(reason(libc::ENOMEM).contains("LimitMEMLOCK"));
}

#[test]
fn pipe_bounds_hold_for_users_without_the_capability() {
    let folder = Folder::new("pipes");
    folder.write("proc/sys/fs/pipe-user-pages-soft", "16384\n");
    folder.write("proc/sys/fs/pipe-user-pages-hard", "0\n");
    folder.write("proc/self/status", "CapEff:\t0000000000000000\n");
    folder.write("proc/self/uid_map", "         0          0 4294967295\n");
    let full_size = || Pipes::probe(&folder.files()).full_size();
    assert_eq!(full_size(), Some(1024));
    folder.write("proc/self/status", "CapEff:\t0000000001000000\n");
    assert_eq!(full_size(), None);
    folder.write("proc/self/uid_map", "         0     100000      65536\n");
    assert_eq!(full_size(), Some(1024));
    folder.write("proc/sys/fs/pipe-user-pages-soft", "1024\n");
    let warning = Pipes::probe(&folder.files()).warning();
    assert!(warning.is_some_and(|text| text.contains("64 pipes of full size")));
}

#[test]
fn descriptors_tell_how_many_connections_fit() {
    let with = |hard| Descriptors {
        soft: 1024,
        hard,
        ceiling: None,
        listen_queue: None,
    };
    assert_eq!(with(0).connections(), 0);
    assert!((300..512).contains(&with(1024).connections()));
    assert!(with(1024).warning().is_some());
    assert!(with(1 << 20).warning().is_none());
}

#[test]
fn json_keys_are_these() {
    let value = Kernel::probe_at(Path::new("/")).json();
    let keys: Vec<&str> = value
        .as_object()
        .map(|object| object.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let expected = [
        "data_path",
        "descriptors",
        "io_uring",
        "kernel_tls",
        "listen_queue",
        "pipes",
        "release",
        "warnings",
    ];
    for key in expected {
        assert!(keys.contains(&key), "{key} is missing from {keys:?}");
    }
    for part in ["kernel_tls", "io_uring"] {
        let part = &value[part];
        assert_eq!(
            part["available"] == true,
            part["reason"].is_null(),
            "{part}"
        );
    }
}

#[test]
fn the_table_ends_with_the_data_path() {
    let kernel = Kernel::probe();
    let table = kernel.table();
    assert_eq!(
        table.lines().last(),
        Some(kernel.data_path(Offload::Auto).as_str())
    );
    assert!(table.starts_with("kernel  "));
}

fn costs(costs: &[(Cipher, Option<f64>, Option<f64>)]) -> Kernel {
    let suites = [Cipher::Aes128Gcm, Cipher::Aes256Gcm].map(|cipher| Suite {
        version: TlsVersion::Tls13,
        cipher,
        works: Ok(()),
    });
    let costs = costs
        .iter()
        .map(|&(cipher, to_clients, from_clients)| Cost {
            cipher,
            to_clients,
            from_clients,
        })
        .collect();
    let mut kernel = Kernel::probe();
    kernel.tls = Ok(KernelTls {
        suites: suites.into(),
        rekey: false,
        no_padding: true,
        announces_next_record: true,
        loses_bytes: Ok(false),
        costs,
        warnings: Vec::new(),
    });
    kernel
}

#[test]
fn bulk_moves_where_it_costs_less_and_nowhere_else() {
    let kernel = costs(&[
        (Cipher::Aes128Gcm, Some(0.9), Some(1.1)),
        (Cipher::Aes256Gcm, None, Some(0.99)),
        (Cipher::ChaCha20Poly1305, Some(0.1), Some(0.1)),
    ]);
    let moves = |offload, version, cipher| {
        let moves = kernel.moves(offload, version, cipher);
        assert!(moves.no_padding && moves.announces);
        (moves.transmit, moves.receive)
    };
    use TlsVersion::{Tls12, Tls13};
    assert_eq!(
        moves(Offload::Auto, Tls13, Cipher::Aes128Gcm),
        (true, false)
    );
    assert_eq!(
        moves(Offload::Auto, Tls13, Cipher::Aes256Gcm),
        (false, true)
    );
    assert_eq!(moves(Offload::Bulk, Tls13, Cipher::Aes256Gcm), (true, true));
    for offload in Offload::ALL {
        // The kernel does not take these over.
        assert_eq!(moves(offload, Tls12, Cipher::Aes128Gcm), (false, false));
        assert_eq!(
            moves(offload, Tls13, Cipher::ChaCha20Poly1305),
            (false, false)
        );
    }
    assert_eq!(
        moves(Offload::Off, Tls13, Cipher::Aes128Gcm),
        (false, false)
    );
    let path = kernel.data_path(Offload::Auto);
    let expected =
        "kernel TLS for bulk where it costs less: AES-128-GCM to clients, AES-256-GCM from clients";
    assert!(path.contains(expected), "{path}");
    assert!(kernel.moves_any());
}

#[test]
fn what_is_dearer_and_what_was_not_measured_is_told_apart() {
    let dearer = costs(&[(Cipher::Aes128Gcm, Some(1.049), Some(1.16))]);
    let path = dearer.data_path(Offload::Auto);
    let expected = "user space, because bulk costs more in kernel TLS here (AES-128-GCM 1.05x to clients, 1.16x from them)";
    assert!(path.contains(expected), "{path}");
    let unknown = costs(&[(Cipher::Aes128Gcm, None, None)]);
    let path = unknown.data_path(Offload::Auto);
    assert!(path.contains("could not be measured"), "{path}");
    for kernel in [dearer, unknown] {
        assert!(!kernel.moves_any());
        assert_eq!(kernel.json()["data_path"]["tls"], "user");
    }
}

#[test]
fn what_the_kernel_does_not_take_over_has_no_cost() {
    let kernel = Kernel::probe();
    let ciphers = [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305];
    let costs = cost::costs(ciphers.into_iter());
    assert_eq!(costs.len(), ciphers.len());
    for cost in costs {
        let taken = kernel.offloads(TlsVersion::Tls13, cost.cipher);
        assert!(taken || !cost.is_known(), "{cost}");
    }
}

//! Records without a byte of data, which TLS allows and kernel TLS tells apart from an end badly.

use crate::{
    harness::{
        Connector, End, Setup, StreamEnd, data, machine, pattern,
        records::{ALERT, CLOSE_NOTIFY, DATA},
    },
    records::{assert_cut, checking},
};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// Data with so many empty records before each part, all of it at once.
fn empty_records(count: usize) {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    for version in VERSIONS {
        let mut client = Connector::new().version(version).records(lockgate.address);
        let bytes = pattern(data::UP, 40 * 20_000);
        for part in bytes.chunks(10_000) {
            let mut segment: Vec<u8> = (0..count).flat_map(|_| client.seal(DATA, &[])).collect();
            segment.extend(client.seal(DATA, part));
            client.send_raw(&segment);
        }
        let mut segment: Vec<u8> = (0..count).flat_map(|_| client.seal(DATA, &[])).collect();
        segment.extend(client.seal(ALERT, &CLOSE_NOTIFY));
        client.send_raw(&segment);
        assert_eq!(client.read_all().1, End::Clean);
        assert_eq!(backend.next(), (40 * 20_000, StreamEnd::Clean));
    }
    lockgate.finish();
}

#[test]
fn some_empty_records_between_data_are_no_end() {
    empty_records(5);
}

#[test]
fn empty_records_right_before_close_notify_are_no_truncation() {
    let backend = checking();
    let lockgate = Setup::to(&backend.address).start();
    for round in 0..40 {
        let mut client = Connector::new()
            .version(VERSIONS[round % 2])
            .records(lockgate.address);
        // After large records, too, which are moved in another way.
        let length = [10, 100_000][round / 2 % 2];
        for part in pattern(data::UP, length).chunks(16_384) {
            client.send(DATA, part);
        }
        let mut segment: Vec<u8> = (0..5).flat_map(|_| client.seal(DATA, &[])).collect();
        segment.extend(client.seal(ALERT, &CLOSE_NOTIFY));
        client.send_raw(&segment);
        assert_eq!(client.read_all().1, End::Clean, "round {round}");
        assert_eq!(backend.next(), (length as u64, StreamEnd::Clean));
    }
    lockgate.finish();
}

#[test]
fn a_flood_of_empty_records_is_cut_off() {
    if machine::expects_kernel() {
        // The kernel takes them and says nothing; nobody is kept from going on.
        return empty_records(1000);
    }
    assert_cut(&["record_flood"], |client| {
        let flood: Vec<u8> = (0..1000).flat_map(|_| client.seal(DATA, &[])).collect();
        client.send_raw(&flood);
    });
}

//! Single behaviours, each as a script of actions and what they lead to.

use std::time::Duration;

use super::super::{
    Action::{self, *},
    Ending::{self, *},
    Failure,
    Input::{self, *},
    Outcome::{self, Accepted, Done, Unacknowledged},
    Reason, Relay, Settings,
    Side::{self, *},
    Tick,
    Way::{self, *},
};
use crate::limits;

const SETTINGS: Settings = Settings {
    idle_timeout: Duration::from_secs(60),
    half_closed_timeout: Duration::from_secs(20),
    lifetime: None,
    truncation_is_clean: false,
    records_per_key: limits::RECORDS_PER_KEY,
    client_updates: true,
};

const LOST: Outcome = Outcome::Failed(Failure::Lost);
const ENDED: Outcome = Outcome::Failed(Failure::Ended);
const REFUSED: Outcome = Outcome::Failed(Failure::Unsupported);
const FULL: Outcome = Outcome::Blocked;
const EMPTY: Outcome = Outcome::Input(Input::Blocked);
const KEY_UPDATE: Outcome = got(KeyUpdate { answer: true });

const fn got(input: Input) -> Outcome {
    Outcome::Input(input)
}

const fn data(bytes: usize) -> Outcome {
    got(Data {
        bytes,
        held: bytes,
        drained: true,
    })
}

fn relay(settings: Settings) -> Relay {
    Relay::new(settings, 0, Tick(0))
}

fn readable(relay: &mut Relay, side: Side) {
    relay.ready(side, true, false, false, false);
}

fn writable(relay: &mut Relay, side: Side) {
    relay.ready(side, false, true, false, false);
}

fn hangs_up(relay: &mut Relay, side: Side) {
    relay.ready(side, true, true, true, true);
}

fn passes(relay: &mut Relay, milliseconds: u64) {
    relay.turn(Tick(milliseconds));
    relay.tick(Tick(milliseconds));
}

#[track_caller]
fn plays(relay: &mut Relay, steps: &[(Action, Outcome)]) {
    for (at, &(action, outcome)) in steps.iter().enumerate() {
        assert_eq!(relay.next(), action, "step {at}");
        relay.done(action, outcome);
    }
}

#[track_caller]
fn closes(relay: &mut Relay, reason: Reason, client: Ending, backend: Ending) {
    assert_eq!(relay.next(), Close { client, backend });
    assert_eq!(relay.reason(), reason);
}

/// The source of `way` gives `outcome` to the next read.
#[track_caller]
fn reads(relay: &mut Relay, way: Way, outcome: Outcome) {
    readable(relay, way.from());
    plays(relay, &[(Read(way), outcome)]);
}

/// The client has ended its stream, and the backend knows.
fn half_closed(settings: Settings) -> Relay {
    let mut relay = relay(settings);
    reads(&mut relay, Up, got(CloseNotify));
    plays(&mut relay, &[(EndStream(Backend), Done)]);
    relay
}

#[test]
fn bytes_go_both_ways_until_both_streams_have_ended() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(5));
    plays(
        &mut relay,
        &[(Write(Up), Accepted(3)), (Write(Up), Accepted(2))],
    );
    reads(&mut relay, Down, data(7));
    plays(&mut relay, &[(Write(Down), Accepted(7))]);
    reads(&mut relay, Up, got(CloseNotify));
    plays(
        &mut relay,
        &[(EndStream(Backend), Done), (Read(Up), EMPTY)].as_slice()[..1],
    );
    reads(&mut relay, Down, got(End));
    plays(
        &mut relay,
        &[(EndStream(Client), Done), (Discard(Client), EMPTY)],
    );
    closes(&mut relay, Reason::Finished, Finish, Finish);
    assert_eq!((relay.bytes(Up), relay.bytes(Down)), (5, 7));
}

#[test]
fn client_half_close_still_returns_backend_data() {
    let mut relay = half_closed(SETTINGS);
    assert_eq!(relay.next(), Wait);
    reads(&mut relay, Down, data(9));
    plays(&mut relay, &[(Write(Down), Accepted(9))]);
    assert_eq!(relay.next(), Wait);
}

#[test]
fn backend_half_close_still_takes_client_data() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Down, got(End));
    plays(&mut relay, &[(EndStream(Client), Done)]);
    reads(&mut relay, Up, data(9));
    plays(&mut relay, &[(Write(Up), Accepted(9))]);
    reads(&mut relay, Up, got(CloseNotify));
    plays(
        &mut relay,
        &[(EndStream(Backend), Done), (Discard(Client), EMPTY)],
    );
    closes(&mut relay, Reason::Finished, Finish, Finish);
}

#[test]
fn nothing_is_read_while_bytes_are_held() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(5));
    plays(&mut relay, &[(Write(Up), FULL)]);
    readable(&mut relay, Client);
    assert_eq!(relay.next(), Wait);
    writable(&mut relay, Backend);
    plays(&mut relay, &[(Write(Up), Accepted(5)), (Read(Up), EMPTY)]);
}

#[test]
fn an_end_behind_a_short_read_is_read_without_another_edge() {
    let mut relay = relay(SETTINGS);
    relay.ready(Client, true, true, true, false);
    plays(&mut relay, &[(Read(Up), data(5)), (Write(Up), Accepted(5))]);
    plays(&mut relay, &[(Read(Up), got(End))]);
    assert_eq!(relay.reason(), Reason::ClientTruncated);
}

#[test]
fn a_turn_ends_when_its_budget_is_used_up() {
    let mut relay = relay(SETTINGS);
    readable(&mut relay, Client);
    let much = got(Data {
        bytes: limits::TURN_BYTES,
        held: 1,
        drained: false,
    });
    plays(&mut relay, &[(Read(Up), much), (Write(Up), Accepted(1))]);
    assert_eq!(relay.next(), Yield);
    relay.turn(Tick(0));
    plays(&mut relay, &[(Read(Up), EMPTY)]);
}

#[test]
fn large_reads_move_to_splice_and_control_records_back() {
    let mut relay = relay(SETTINGS);
    readable(&mut relay, Client);
    let large = got(Data {
        bytes: limits::BULK_ENTER_BYTES,
        held: 1,
        drained: false,
    });
    for _ in 0..limits::BULK_ENTER_READS {
        plays(&mut relay, &[(Read(Up), large), (Write(Up), Accepted(1))]);
    }
    plays(&mut relay, &[(Splice(Up), large), (Write(Up), Accepted(1))]);
    plays(
        &mut relay,
        &[
            (Splice(Up), got(Unspliceable)),
            (Read(Up), got(Warning(90))),
        ],
    );
    plays(&mut relay, &[(Read(Up), EMPTY)]);
}

#[test]
fn truncation_resets_the_backend_once_it_has_what_came_before() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(5));
    plays(&mut relay, &[(Write(Up), Accepted(5))]);
    reads(&mut relay, Up, got(End));
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(5))]);
    assert_eq!(relay.next(), Wait);
    assert_eq!(relay.deadline(), Tick(1));
    passes(&mut relay, 1);
    plays(
        &mut relay,
        &[
            (AskAcknowledged(Backend), Unacknowledged(0)),
            (Discard(Client), EMPTY),
        ],
    );
    closes(&mut relay, Reason::ClientTruncated, Finish, Reset);
    assert!(relay.was_truncated());
}

#[test]
fn truncation_is_a_clean_end_where_the_operator_says_so() {
    let mut relay = relay(Settings {
        truncation_is_clean: true,
        ..SETTINGS
    });
    reads(&mut relay, Up, got(End));
    plays(&mut relay, &[(EndStream(Backend), Done)]);
    assert_eq!(relay.next(), Wait);
    assert!(relay.was_truncated());
}

#[test]
fn a_bad_end_does_not_wait_for_the_other_stream_to_pause() {
    let mut relay = relay(SETTINGS);
    readable(&mut relay, Backend);
    readable(&mut relay, Client);
    plays(
        &mut relay,
        &[
            (Read(Up), got(Fatal(40))),
            (AskAcknowledged(Backend), Unacknowledged(0)),
        ],
    );
    plays(&mut relay, &[(Discard(Client), EMPTY)]);
    closes(&mut relay, Reason::ClientAlert, Finish, Reset);
}

#[test]
fn backend_reset_gives_the_client_its_bytes_then_an_alert_then_a_reset() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Down, data(5));
    plays(&mut relay, &[(Write(Down), Accepted(5))]);
    reads(&mut relay, Down, got(Failed(Failure::Lost)));
    plays(&mut relay, &[(Alert(Client, 80), FULL)]);
    assert_eq!(relay.next(), Wait);
    writable(&mut relay, Client);
    plays(
        &mut relay,
        &[
            (Alert(Client, 80), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    closes(&mut relay, Reason::BackendReset, Reset, Reset);
}

#[test]
fn a_backend_that_answered_and_closed_while_the_client_uploads_is_a_proper_end() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(5));
    plays(&mut relay, &[(Write(Up), ENDED)]);
    reads(&mut relay, Down, data(9));
    plays(&mut relay, &[(Write(Down), Accepted(9))]);
    reads(&mut relay, Down, got(End));
    plays(
        &mut relay,
        &[
            (EndStream(Client), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    // The client goes on sending, which must not reset the answer away.
    readable(&mut relay, Client);
    plays(
        &mut relay,
        &[(Discard(Client), data(50)), (ShutdownWrite(Client), Done)],
    );
    readable(&mut relay, Client);
    plays(&mut relay, &[(Discard(Client), got(End))]);
    closes(&mut relay, Reason::Finished, Finish, Finish);
}

#[test]
fn an_end_that_is_read_after_a_lost_write_is_not_clean() {
    let mut relay = relay(SETTINGS);
    readable(&mut relay, Backend);
    readable(&mut relay, Client);
    plays(
        &mut relay,
        &[(Read(Up), data(5)), (Read(Down), EMPTY), (Write(Up), LOST)],
    );
    reads(&mut relay, Down, got(End));
    assert_eq!(relay.next(), Alert(Client, 80));
    assert_eq!(relay.reason(), Reason::BackendReset);
}

#[test]
fn a_client_that_half_closed_and_then_reset_resets_the_backend() {
    let mut relay = half_closed(SETTINGS);
    hangs_up(&mut relay, Client);
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    closes(&mut relay, Reason::ClientReset, Reset, Reset);
}

#[test]
fn a_hangup_is_heeded_when_what_was_before_it_has_been_read() {
    let mut relay = relay(SETTINGS);
    hangs_up(&mut relay, Backend);
    plays(
        &mut relay,
        &[(Read(Down), data(5)), (Write(Down), Accepted(5))],
    );
    // FIN, then reset: nobody would tell of the reset again.
    plays(
        &mut relay,
        &[(Read(Down), got(End)), (EndStream(Client), Done)],
    );
    plays(
        &mut relay,
        &[
            (AskAcknowledged(Client), Unacknowledged(0)),
            (ShutdownWrite(Client), Done),
        ],
    );
    readable(&mut relay, Client);
    plays(&mut relay, &[(Discard(Client), got(End))]);
    closes(&mut relay, Reason::Finished, Finish, Finish);
}

#[test]
fn a_hangup_after_both_streams_ended_is_no_loss() {
    let mut relay = half_closed(SETTINGS);
    hangs_up(&mut relay, Backend);
    plays(
        &mut relay,
        &[(Read(Down), got(End)), (EndStream(Client), Done)],
    );
    plays(&mut relay, &[(Discard(Client), EMPTY)]);
    closes(&mut relay, Reason::Finished, Finish, Finish);
}

#[test]
fn a_key_update_is_answered_before_anything_else_is_read_for_that_leg() {
    let mut relay = relay(SETTINGS);
    readable(&mut relay, Backend);
    readable(&mut relay, Client);
    plays(
        &mut relay,
        &[(Read(Up), KEY_UPDATE), (UpdateReceive(Client), Done)],
    );
    plays(
        &mut relay,
        &[(SendKeyUpdate(Client), FULL), (Read(Up), EMPTY)],
    );
    assert_eq!(relay.next(), Wait);
    writable(&mut relay, Client);
    plays(
        &mut relay,
        &[
            (SendKeyUpdate(Client), Done),
            (UpdateTransmit(Client), Done),
        ],
    );
    plays(&mut relay, &[(Read(Down), EMPTY)]);
    assert_eq!(relay.key_updates(), (1, 1));
}

#[test]
fn what_is_held_goes_before_the_answer_to_a_key_update() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Down, data(5));
    plays(&mut relay, &[(Write(Down), FULL)]);
    reads(&mut relay, Up, KEY_UPDATE);
    plays(&mut relay, &[(UpdateReceive(Client), Done)]);
    plays(&mut relay, &[(Read(Up), EMPTY)]);
    assert_eq!(relay.next(), Wait);
    writable(&mut relay, Client);
    plays(
        &mut relay,
        &[(Write(Down), Accepted(5)), (SendKeyUpdate(Client), Done)],
    );
}

#[test]
fn a_key_update_is_not_answered_after_our_close_notify() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Down, got(End));
    plays(&mut relay, &[(EndStream(Client), Done)]);
    reads(&mut relay, Up, KEY_UPDATE);
    plays(
        &mut relay,
        &[(UpdateReceive(Client), Done), (Read(Up), EMPTY)],
    );
    assert_eq!(relay.next(), Wait);
}

#[test]
fn a_key_update_is_answered_after_the_client_half_closed_if_it_came_before() {
    let mut relay = relay(SETTINGS);
    relay.ready(Client, true, true, true, false);
    plays(
        &mut relay,
        &[(Read(Up), KEY_UPDATE), (UpdateReceive(Client), Done)],
    );
    plays(
        &mut relay,
        &[(SendKeyUpdate(Client), FULL), (Read(Up), got(CloseNotify))],
    );
    plays(&mut relay, &[(EndStream(Backend), Done)]);
    writable(&mut relay, Client);
    plays(
        &mut relay,
        &[
            (SendKeyUpdate(Client), Done),
            (UpdateTransmit(Client), Done),
        ],
    );
}

#[test]
fn closing_between_key_update_and_its_keys_installs_them_first() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, KEY_UPDATE);
    plays(
        &mut relay,
        &[(UpdateReceive(Client), Done), (SendKeyUpdate(Client), Done)],
    );
    relay.end(Reason::Drained, Tick(0));
    plays(
        &mut relay,
        &[(UpdateTransmit(Client), Done), (EndStream(Client), Done)],
    );
}

#[test]
fn closing_drops_a_key_update_that_is_due() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, KEY_UPDATE);
    relay.end(Reason::Drained, Tick(0));
    plays(
        &mut relay,
        &[(UpdateReceive(Client), Done), (EndStream(Client), Done)],
    );
}

#[test]
fn a_client_that_updates_keys_where_the_kernel_cannot_gets_an_alert() {
    let mut relay = relay(Settings {
        client_updates: false,
        ..SETTINGS
    });
    reads(&mut relay, Up, KEY_UPDATE);
    plays(&mut relay, &[(Alert(Client, 80), Done)]);
    assert_eq!(relay.reason(), Reason::KeyUpdateUnsupported);
}

#[test]
fn nothing_is_sent_when_the_next_keys_cannot_be_used() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, KEY_UPDATE);
    plays(
        &mut relay,
        &[(UpdateReceive(Client), Done), (SendKeyUpdate(Client), Done)],
    );
    plays(&mut relay, &[(UpdateTransmit(Client), REFUSED)]);
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    closes(&mut relay, Reason::KeyUpdateUnsupported, Reset, Reset);
}

#[test]
fn key_updates_without_data_are_bounded() {
    let mut relay = relay(SETTINGS);
    readable(&mut relay, Client);
    let rekey = [
        (SendKeyUpdate(Client), Done),
        (UpdateTransmit(Client), Done),
    ];
    for _ in 0..limits::KEY_UPDATES_BURST {
        plays(
            &mut relay,
            &[(Read(Up), KEY_UPDATE), (UpdateReceive(Client), Done)],
        );
        plays(&mut relay, &rekey);
    }
    plays(
        &mut relay,
        &[(Read(Up), KEY_UPDATE), (UpdateReceive(Client), Done)],
    );
    plays(&mut relay, &[(Alert(Client, 10), Done)]);
    assert_eq!(relay.reason(), Reason::KeyUpdateFlood);
}

#[test]
fn keys_are_renewed_before_they_have_sealed_too_many_records() {
    let mut relay = relay(Settings {
        records_per_key: 4,
        ..SETTINGS
    });
    for _ in 0..3 {
        for _ in 0..4 {
            reads(&mut relay, Down, data(5));
            plays(&mut relay, &[(Write(Down), Accepted(5))]);
        }
        plays(
            &mut relay,
            &[
                (SendKeyUpdate(Client), Done),
                (UpdateTransmit(Client), Done),
            ],
        );
    }
    assert_eq!(relay.key_updates(), (0, 3));
}

#[test]
fn only_a_client_is_made_to_wait_for_the_last_word() {
    for (way, ending, waits) in [
        (Down, false, false),
        (Down, true, true),
        (Up, false, false),
        (Up, true, false),
    ] {
        let mut relay = relay(SETTINGS);
        relay.ready(way.from(), true, false, ending, false);
        plays(&mut relay, &[(Read(way), data(5))]);
        assert_eq!(
            relay.goes_on(way),
            waits,
            "{way:?}, its end known: {ending}"
        );
        relay.end(Reason::Drained, Tick(0));
        assert!(!relay.goes_on(way), "it ends for another reason");
    }
}

#[test]
fn where_only_what_is_received_is_in_a_kernel_with_keys_for_good_what_is_sent_gets_new_ones() {
    let settings = Settings {
        records_per_key: 4,
        ..SETTINGS
    };
    let mut relay = Relay::new(settings, 3, Tick(0));
    relay.keeps_keys(Up);
    reads(&mut relay, Down, data(5));
    plays(
        &mut relay,
        &[
            (Write(Down), Accepted(5)),
            (SendKeyUpdate(Client), Done),
            (UpdateTransmit(Client), Done),
        ],
    );
    reads(&mut relay, Up, KEY_UPDATE);
    plays(&mut relay, &[(Alert(Client, 80), Done)]);
    assert_eq!(relay.reason(), Reason::KeyUpdateUnsupported);
}

#[test]
fn without_key_updates_the_record_limit_closes() {
    let settings = Settings {
        records_per_key: 4,
        client_updates: false,
        ..SETTINGS
    };
    let mut relay = Relay::new(settings, 3, Tick(0));
    reads(&mut relay, Down, data(5));
    plays(
        &mut relay,
        &[(Write(Down), Accepted(5)), (EndStream(Client), Done)],
    );
    plays(&mut relay, &[(AskAcknowledged(Client), Unacknowledged(0))]);
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    plays(&mut relay, &[(ShutdownWrite(Client), Done)]);
    passes(&mut relay, 2_000);
    closes(&mut relay, Reason::RecordLimit, Finish, Reset);
}

#[test]
fn records_without_data_are_bounded() {
    let mut relay = relay(SETTINGS);
    readable(&mut relay, Client);
    for _ in 0..=limits::EMPTY_RECORDS_MAX {
        plays(&mut relay, &[(Read(Up), got(Empty))]);
    }
    assert_eq!(relay.next(), Alert(Client, 10));
    assert_eq!(relay.reason(), Reason::RecordFlood);
}

#[test]
fn an_idle_connection_is_closed_cleanly_on_both_sides() {
    let mut relay = relay(SETTINGS);
    assert_eq!(relay.deadline(), Tick(60_000));
    passes(&mut relay, 60_000);
    plays(
        &mut relay,
        &[
            (EndStream(Client), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    plays(&mut relay, &[(ShutdownWrite(Client), Done)]);
    readable(&mut relay, Client);
    plays(
        &mut relay,
        &[
            (Discard(Client), got(CloseNotify)),
            (Discard(Client), got(End)),
        ],
    );
    closes(&mut relay, Reason::Idle, Finish, Finish);
}

#[test]
fn the_half_closed_timeout_begins_when_a_stream_ends() {
    let mut relay = relay(SETTINGS);
    relay.turn(Tick(50_000));
    reads(&mut relay, Up, got(CloseNotify));
    plays(&mut relay, &[(EndStream(Backend), Done)]);
    assert_eq!(relay.deadline(), Tick(70_000));
    passes(&mut relay, 70_000);
    plays(&mut relay, &[(EndStream(Client), Done)]);
    plays(&mut relay, &[(Discard(Client), EMPTY)]);
    closes(&mut relay, Reason::HalfClosedIdle, Finish, Finish);
}

#[test]
fn the_deadlines_of_a_drain_begin_with_it() {
    let mut relay = relay(SETTINGS);
    relay.end(Reason::Drained, Tick(50_000));
    assert_eq!(relay.deadline(), Tick(55_000));
}

#[test]
fn a_backend_that_knows_the_clients_end_is_not_reset_by_a_drain() {
    let mut relay = half_closed(SETTINGS);
    relay.end(Reason::Drained, Tick(0));
    plays(&mut relay, &[(EndStream(Client), Done)]);
    plays(&mut relay, &[(Discard(Client), EMPTY)]);
    closes(&mut relay, Reason::Drained, Finish, Finish);
}

#[test]
fn a_client_that_is_known_to_be_lost_is_the_reason_of_a_timeout() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(5));
    plays(&mut relay, &[(Write(Up), FULL)]);
    hangs_up(&mut relay, Client);
    assert_eq!(relay.next(), Wait);
    passes(&mut relay, 60_000);
    writable(&mut relay, Backend);
    plays(
        &mut relay,
        &[
            (Write(Up), Accepted(5)),
            (AskAcknowledged(Backend), Unacknowledged(0)),
        ],
    );
    closes(&mut relay, Reason::ClientReset, Reset, Reset);
}

#[test]
fn a_backend_that_is_lost_while_closing_turns_close_notify_into_an_alert() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(5));
    plays(&mut relay, &[(Write(Up), FULL)]);
    relay.end(Reason::Closed, Tick(0));
    writable(&mut relay, Backend);
    plays(&mut relay, &[(Write(Up), LOST), (Alert(Client, 80), Done)]);
    plays(&mut relay, &[(AskAcknowledged(Client), Unacknowledged(0))]);
    closes(&mut relay, Reason::Closed, Reset, Reset);
}

#[test]
fn bytes_that_nobody_takes_make_every_end_a_reset() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(5));
    plays(&mut relay, &[(Write(Up), FULL)]);
    passes(&mut relay, 60_000);
    assert_eq!(relay.next(), Wait);
    passes(&mut relay, 65_000);
    // The client is told nevertheless.
    plays(
        &mut relay,
        &[
            (Alert(Client, 80), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    closes(&mut relay, Reason::Idle, Reset, Reset);
}

#[test]
fn acknowledgement_may_take_long_while_it_goes_on() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(90));
    plays(&mut relay, &[(Write(Up), Accepted(90))]);
    reads(&mut relay, Up, got(Fatal(40)));
    for (at, left) in [(0, 90), (4_000, 60), (8_000, 30)] {
        passes(&mut relay, at);
        plays(
            &mut relay,
            &[(AskAcknowledged(Backend), Unacknowledged(left))],
        );
        assert_eq!(relay.next(), Wait);
    }
    passes(&mut relay, 12_999);
    plays(
        &mut relay,
        &[(AskAcknowledged(Backend), Unacknowledged(30))],
    );
    assert_eq!(relay.deadline(), Tick(13_000));
    passes(&mut relay, 13_000);
    plays(&mut relay, &[(Discard(Client), got(End))]);
    closes(&mut relay, Reason::ClientAlert, Finish, Reset);
}

#[test]
fn a_side_that_does_not_acknowledge_does_not_cost_the_other_its_proper_end() {
    let mut relay = relay(SETTINGS);
    relay.end(Reason::Closed, Tick(0));
    plays(
        &mut relay,
        &[
            (EndStream(Client), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(5))]);
    passes(&mut relay, 5_000);
    relay.ready(Client, true, false, true, false);
    plays(&mut relay, &[(Discard(Client), got(End))]);
    closes(&mut relay, Reason::Closed, Finish, Reset);
}

#[test]
fn lingering_is_bounded_in_bytes_and_yields() {
    let mut relay = relay(SETTINGS);
    relay.end(Reason::Closed, Tick(0));
    plays(
        &mut relay,
        &[
            (EndStream(Client), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    relay.ready(Client, true, false, true, false);
    let (mut discards, mut yields) = (0, 0);
    loop {
        match relay.next() {
            Yield => {
                yields += 1;
                relay.turn(Tick(0));
            }
            action @ Discard(Client) => {
                discards += 1;
                relay.done(action, data(1));
            }
            _ => break,
        }
    }
    assert_eq!(discards, 1024);
    assert_eq!(yields, 3);
    closes(&mut relay, Reason::Closed, Finish, Reset);
}

#[test]
fn lingering_is_bounded_in_time() {
    let mut relay = relay(SETTINGS);
    relay.end(Reason::Closed, Tick(0));
    plays(
        &mut relay,
        &[
            (EndStream(Client), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    plays(&mut relay, &[(ShutdownWrite(Client), Done)]);
    for at in (0..2_000).step_by(100) {
        passes(&mut relay, at);
        readable(&mut relay, Client);
        plays(&mut relay, &[(Discard(Client), data(1))]);
        assert_eq!(relay.next(), Wait);
    }
    passes(&mut relay, 2_000);
    closes(&mut relay, Reason::Closed, Finish, Reset);
}

#[test]
fn a_stream_that_cannot_be_decrypted_is_not_read_on_while_lingering() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, got(Violation(20)));
    plays(
        &mut relay,
        &[
            (Alert(Client, 20), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    plays(&mut relay, &[(Discard(Client), got(Violation(20)))]);
    closes(&mut relay, Reason::BadRecord, Finish, Reset);
}

#[test]
fn a_violation_after_our_close_notify_sends_nothing_more() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Down, got(End));
    plays(&mut relay, &[(EndStream(Client), Done)]);
    reads(&mut relay, Up, got(Violation(10)));
    plays(&mut relay, &[(AskAcknowledged(Client), Unacknowledged(0))]);
    assert_eq!(relay.reason(), Reason::UnexpectedMessage);
}

#[test]
fn abandoning_resets_both_at_once() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, data(5));
    relay.abandon(Reason::Drained);
    closes(&mut relay, Reason::Drained, Reset, Reset);
}

#[test]
fn an_event_that_tells_of_an_end_alone_is_reason_to_read() {
    for (ending, hangup) in [(true, false), (false, true)] {
        let mut relay = relay(SETTINGS);
        relay.ready(Client, false, false, ending, hangup);
        plays(&mut relay, &[(Read(Up), data(5)), (Write(Up), Accepted(5))]);
        assert_eq!(relay.next(), Read(Up));
    }
}

#[test]
fn a_proper_close_by_the_client_while_lingering_is_read_to_its_end() {
    let mut relay = relay(SETTINGS);
    relay.end(Reason::Closed, Tick(0));
    plays(
        &mut relay,
        &[
            (EndStream(Client), Done),
            (AskAcknowledged(Client), Unacknowledged(0)),
        ],
    );
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    plays(&mut relay, &[(ShutdownWrite(Client), Done)]);
    // Both sides sent FIN: to poll(2) that is a hangup too.
    hangs_up(&mut relay, Client);
    plays(
        &mut relay,
        &[(Discard(Client), data(5)), (Discard(Client), got(End))],
    );
    closes(&mut relay, Reason::Closed, Finish, Reset);
}

#[test]
fn a_client_that_is_reset_between_key_update_and_its_keys_is_a_reset_client() {
    let mut relay = relay(SETTINGS);
    reads(&mut relay, Up, KEY_UPDATE);
    plays(
        &mut relay,
        &[(UpdateReceive(Client), Done), (SendKeyUpdate(Client), Done)],
    );
    plays(&mut relay, &[(UpdateTransmit(Client), LOST)]);
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    closes(&mut relay, Reason::ClientReset, Reset, Reset);
}

#[test]
fn a_client_that_acknowledges_nothing_is_reset() {
    let mut relay = relay(SETTINGS);
    relay.end(Reason::Closed, Tick(0));
    plays(
        &mut relay,
        &[
            (EndStream(Client), Done),
            (AskAcknowledged(Client), Unacknowledged(9)),
        ],
    );
    passes(&mut relay, 5_000);
    plays(&mut relay, &[(AskAcknowledged(Backend), Unacknowledged(0))]);
    closes(&mut relay, Reason::Closed, Reset, Reset);
}

#[test]
fn an_end_that_cannot_be_passed_on_yet_begins_the_half_closed_timeout() {
    let mut relay = relay(SETTINGS);
    relay.turn(Tick(50_000));
    reads(&mut relay, Down, got(End));
    plays(&mut relay, &[(EndStream(Client), FULL)]);
    assert_eq!(relay.deadline(), Tick(70_000));
}

//! Every pair of states that the two flows can be in, and where each event leads from there.

use std::time::Duration;

use super::super::{Action, FlowState, Input, Outcome, Reason, Relay, Settings, Side, Tick};

const STATES: [FlowState; 4] = [
    FlowState::Open,
    FlowState::Ended,
    FlowState::Told,
    FlowState::Dead,
];

use Side::{Backend, Client};

fn relay(up: FlowState, down: FlowState) -> Relay {
    let settings = Settings {
        idle_timeout: Duration::from_secs(60),
        half_closed_timeout: Duration::from_secs(60),
        lifetime: None,
        truncation_is_clean: false,
        records_per_key: 1 << 20,
        client_updates: true,
    };
    let mut relay = Relay::new(settings, 0, Tick(0));
    relay.up.state = up;
    relay.down.state = down;
    relay
}

/// The action; or, if the connection closes, why, what the client is told and how both legs end.
fn leads_to(mut relay: Relay) -> String {
    let action = relay.next();
    if relay.closing.is_none() {
        return format!("{action:?}");
    }
    let mut told = "";
    loop {
        let action = relay.next();
        let outcome = match action {
            Action::Close { client, backend } => {
                return format!("{}:{told} {client:?}/{backend:?}", relay.reason());
            }
            Action::AskAcknowledged(_) => Outcome::Unacknowledged(0),
            Action::Discard(_) => Outcome::Input(Input::End),
            Action::Wait => {
                relay.tick(Tick(100_000));
                continue;
            }
            Action::EndStream(_) => {
                told = " notify";
                Outcome::Done
            }
            Action::Alert(..) => {
                told = " alert";
                Outcome::Done
            }
            _ => Outcome::Done,
        };
        relay.done(action, outcome);
    }
}

fn table() -> String {
    let mut table = String::new();
    for up in STATES {
        for down in STATES {
            let cell = |change: fn(&mut Relay)| {
                let mut relay = relay(up, down);
                change(&mut relay);
                leads_to(relay)
            };
            table += &format!("{up:?}/{down:?}\n");
            let events = [
                ("nothing", cell(|_| {})),
                (
                    "client readable",
                    cell(|relay| relay.ready(Client, true, false, false, false)),
                ),
                (
                    "backend readable",
                    cell(|relay| relay.ready(Backend, true, false, false, false)),
                ),
                (
                    "client hangs up",
                    cell(|relay| relay.ready(Client, true, true, true, true)),
                ),
                (
                    "backend hangs up",
                    cell(|relay| relay.ready(Backend, true, true, true, true)),
                ),
                ("time passes", cell(|relay| relay.tick(Tick(60_000)))),
                ("drained", cell(|relay| relay.end(Reason::Drained, Tick(0)))),
            ];
            for (event, outcome) in events {
                table += &format!("  {event:<17} {outcome}\n");
            }
        }
    }
    table
}

#[test]
fn every_state_and_event_leads_where_the_table_says() {
    let table = table();
    for (at, (is, said)) in table.lines().zip(TABLE.trim_start().lines()).enumerate() {
        assert_eq!(is, said, "line {at} of:\n{table}");
    }
    assert_eq!(table.lines().count(), TABLE.trim_start().lines().count());
}

/// State of up and down; then, for each event, the action, or the end of the connection: its
/// reason, the client's last word, and how the client's and the backend's legs are closed.
const TABLE: &str = "
Open/Open
  nothing           Wait
  client readable   Read(Up)
  backend readable  Read(Down)
  client hangs up   Read(Up)
  backend hangs up  Read(Down)
  time passes       idle: notify Finish/Finish
  drained           drained: notify Finish/Reset
Open/Ended
  nothing           EndStream(Client)
  client readable   Read(Up)
  backend readable  EndStream(Client)
  client hangs up   Read(Up)
  backend hangs up  EndStream(Client)
  time passes       half_closed_idle: notify Finish/Finish
  drained           drained: notify Finish/Reset
Open/Told
  nothing           Wait
  client readable   Read(Up)
  backend readable  Wait
  client hangs up   Read(Up)
  backend hangs up  finished: Finish/Finish
  time passes       half_closed_idle: Finish/Finish
  drained           drained: Finish/Reset
Open/Dead
  nothing           Wait
  client readable   Read(Up)
  backend readable  Wait
  client hangs up   Read(Up)
  backend hangs up  client_reset: Reset/Reset
  time passes       half_closed_idle: Finish/Reset
  drained           drained: Finish/Reset
Ended/Open
  nothing           EndStream(Backend)
  client readable   EndStream(Backend)
  backend readable  EndStream(Backend)
  client hangs up   EndStream(Backend)
  backend hangs up  EndStream(Backend)
  time passes       half_closed_idle: notify Finish/Finish
  drained           drained: notify Finish/Finish
Ended/Ended
  nothing           EndStream(Backend)
  client readable   EndStream(Backend)
  backend readable  EndStream(Backend)
  client hangs up   EndStream(Backend)
  backend hangs up  EndStream(Client)
  time passes       half_closed_idle: notify Finish/Finish
  drained           drained: notify Finish/Finish
Ended/Told
  nothing           EndStream(Backend)
  client readable   EndStream(Backend)
  backend readable  EndStream(Backend)
  client hangs up   EndStream(Backend)
  backend hangs up  finished: Finish/Finish
  time passes       half_closed_idle: Finish/Finish
  drained           drained: Finish/Finish
Ended/Dead
  nothing           EndStream(Backend)
  client readable   EndStream(Backend)
  backend readable  EndStream(Backend)
  client hangs up   EndStream(Backend)
  backend hangs up  client_reset: Reset/Reset
  time passes       half_closed_idle: Finish/Reset
  drained           drained: Finish/Reset
Told/Open
  nothing           Wait
  client readable   Wait
  backend readable  Read(Down)
  client hangs up   client_reset: Reset/Reset
  backend hangs up  Read(Down)
  time passes       half_closed_idle: notify Finish/Finish
  drained           drained: notify Finish/Finish
Told/Ended
  nothing           EndStream(Client)
  client readable   EndStream(Client)
  backend readable  EndStream(Client)
  client hangs up   client_reset: Reset/Reset
  backend hangs up  EndStream(Client)
  time passes       half_closed_idle: notify Finish/Finish
  drained           drained: notify Finish/Finish
Told/Told
  nothing           finished: Finish/Finish
  client readable   finished: Finish/Finish
  backend readable  finished: Finish/Finish
  client hangs up   finished: Finish/Finish
  backend hangs up  finished: Finish/Finish
  time passes       half_closed_idle: Finish/Finish
  drained           drained: Finish/Finish
Told/Dead
  nothing           client_reset: Reset/Reset
  client readable   client_reset: Reset/Reset
  backend readable  client_reset: Reset/Reset
  client hangs up   client_reset: Reset/Reset
  backend hangs up  client_reset: Reset/Reset
  time passes       half_closed_idle: Finish/Finish
  drained           drained: Finish/Finish
Dead/Open
  nothing           Wait
  client readable   Wait
  backend readable  Read(Down)
  client hangs up   client_reset: Reset/Reset
  backend hangs up  Read(Down)
  time passes       half_closed_idle: notify Finish/Finish
  drained           drained: notify Finish/Reset
Dead/Ended
  nothing           EndStream(Client)
  client readable   EndStream(Client)
  backend readable  EndStream(Client)
  client hangs up   client_reset: Reset/Reset
  backend hangs up  EndStream(Client)
  time passes       half_closed_idle: notify Finish/Finish
  drained           drained: notify Finish/Reset
Dead/Told
  nothing           finished: Finish/Finish
  client readable   finished: Finish/Finish
  backend readable  finished: Finish/Finish
  client hangs up   finished: Finish/Reset
  backend hangs up  finished: Finish/Finish
  time passes       half_closed_idle: Finish/Finish
  drained           drained: Finish/Reset
Dead/Dead
  nothing           client_reset: Reset/Reset
  client readable   client_reset: Reset/Reset
  backend readable  client_reset: Reset/Reset
  client hangs up   client_reset: Reset/Reset
  backend hangs up  client_reset: Reset/Reset
  time passes       half_closed_idle: Finish/Reset
  drained           drained: Finish/Reset
";

//! `lockgate top`: a running lockgate in a terminal, renewed every second.
//!
//! ```text
//!   poll (thread) ── Observation, or that there is none ──┐
//!   keys (thread) ── q, Ctrl-C, another size ─────────────┼─> one loop: view ─> screen
//!   signals (thread) ── SIGTERM, SIGHUP, SIGINT ──────────┘
//! ```
//!
//! `figures` reads the metrics, `view` makes rates and latencies of two observations, `screen` draws
//! them. The terminal is as before when this ends, however it ends.

mod figures;
mod poll;
mod screen;
mod view;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::{EXIT_UNAVAILABLE, remote};
use crate::cli::{EX_USAGE, TopArgs};
use poll::Observation;
use view::View;

/// What the loop waits for.
enum Message {
    /// `Err`: nobody answers, and why.
    Observed(Result<Box<Observation>, String>),
    Redraw,
    Stop,
}

pub fn top(arguments: &TopArgs) -> ExitCode {
    let client = match remote::client(&arguments.remote) {
        Ok(client) => client,
        Err((code, text)) => return complain(code, &text),
    };
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        let text = "top needs a terminal; `lockgate status --json` and GET /metrics do without";
        return complain(EX_USAGE, text);
    }
    let (sender, messages) = channel();
    // Before there is another thread, so that all of them have it.
    if let Err(error) = watch_signals(sender.clone()) {
        return complain(EXIT_UNAVAILABLE, &format!("signals: {error}"));
    }
    let view = View::new(client.target.to_string(), arguments.interval);
    poll::start(client, arguments.interval, sender.clone());
    watch_keys(sender);
    let shown = show(view, &messages);
    ratatui::restore();
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(EXIT_UNAVAILABLE, &format!("the terminal: {error}")),
    }
}

fn show(mut view: View, messages: &Receiver<Message>) -> io::Result<()> {
    // A panic restores the terminal as well, before it says what it is.
    let mut terminal = ratatui::try_init()?;
    loop {
        terminal.draw(|frame| screen::draw(frame, &view))?;
        match messages.recv() {
            Ok(Message::Observed(Ok(observation))) => view.observe(*observation),
            Ok(Message::Observed(Err(why))) => view.lose(why),
            Ok(Message::Redraw) => {}
            Ok(Message::Stop) | Err(_) => return Ok(()),
        }
    }
}

fn watch_signals(messages: Sender<Message>) -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGHUP);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    thread::spawn(move || {
        // An error would come again.
        let _ = signals.wait();
        messages.send(Message::Stop)
    });
    Ok(())
}

fn watch_keys(messages: Sender<Message>) {
    thread::spawn(move || {
        loop {
            let message = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => Message::Stop,
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                        Message::Stop
                    }
                    _ => continue,
                },
                Ok(Event::Resize(..)) => Message::Redraw,
                Ok(_) => continue,
                // The terminal is gone.
                Err(_) => Message::Stop,
            };
            let is_last = matches!(message, Message::Stop);
            if messages.send(message).is_err() || is_last {
                return;
            }
        }
    });
}

fn complain(code: u8, text: &str) -> ExitCode {
    eprintln!("lockgate: {text}");
    ExitCode::from(code)
}

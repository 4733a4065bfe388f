//! How many lines a second may have.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// What clients cause and what the operator is told are bounded apart, so that a flood of the one
/// does not hide the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Connections,
    Operation,
}

/// The bound of each of the two sources, second by second.
pub struct Limit {
    most: AtomicU32,
    started: Instant,
    windows: [Window; 2],
    left_out: AtomicU64,
}

/// The second since the start in the upper half, the lines in it in the lower one.
#[derive(Default)]
struct Window(AtomicU64);

impl Limit {
    pub fn new(lines_per_second: u32) -> Arc<Limit> {
        Arc::new(Limit {
            most: AtomicU32::new(lines_per_second),
            started: Instant::now(),
            windows: Default::default(),
            left_out: AtomicU64::new(0),
        })
    }

    pub fn set(&self, lines_per_second: u32) {
        self.most.store(lines_per_second, Ordering::Relaxed);
    }

    /// Lines since the start.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        let Some(source) = Source::of(metadata.target()) else {
            return true;
        };
        let second = self.started.elapsed().as_secs();
        let most = self.most.load(Ordering::Relaxed);
        let admitted = self.windows[source as usize].admits(second, most);
        if !admitted {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

impl Window {
    fn admits(&self, second: u64, most: u32) -> bool {
        let admitted = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
                let lines = if window >> 32 == second {
                    window & 0xFFFF_FFFF
                } else {
                    0
                };
                (lines < most.into()).then_some(second << 32 | (lines + 1))
            });
        admitted.is_ok()
    }
}

impl Source {
    /// `None`: what the log says about itself is not bounded, it says it once a second at most.
    fn of(target: &str) -> Option<Source> {
        let plane = target.strip_prefix("lockgate::").unwrap_or_default();
        match plane.split("::").next().unwrap_or_default() {
            "logging" => None,
            "connection" | "handshake" | "relay" => Some(Source::Connections),
            _ => Some(Source::Operation),
        }
    }
}

/// In front of what formats lines: one that is left out costs next to nothing.
pub struct Bounded(pub Arc<Limit>);

impl<S: Subscriber> Layer<S> for Bounded {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_admits_so_many_lines_in_each_second() {
        let window = Window::default();
        for second in [0, 1, 7] {
            for _ in 0..3 {
                assert!(window.admits(second, 3));
            }
            assert!(!window.admits(second, 3));
            assert!(window.admits(second, 4), "the bound was raised");
            assert!(!window.admits(second, 2), "the bound was lowered");
        }
    }

    #[test]
    fn threads_share_one_bound() {
        let window = Window::default();
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let lines = u64::from(window.admits(1, 1234));
                        admitted.fetch_add(lines, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 1234);
    }

    #[test]
    fn clients_do_not_use_up_what_the_operator_is_told() {
        use Source::{Connections, Operation};
        for (target, source) in [
            ("lockgate::connection", Some(Connections)),
            ("lockgate::handshake::serve", Some(Connections)),
            ("lockgate::relay::thread", Some(Connections)),
            ("lockgate::control::reload", Some(Operation)),
            ("lockgate::commands::run", Some(Operation)),
            ("hyper::proto", Some(Operation)),
            ("lockgate::logging", None),
        ] {
            assert_eq!(Source::of(target), source, "{target}");
        }
    }
}

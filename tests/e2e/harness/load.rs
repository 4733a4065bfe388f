//! Clients that must notice nothing while something changes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustls::NamedGroup;

use super::{Client, Connector, End, wait_until};

/// Clients that come, say something and leave, and one that stays; until it is dropped.
pub struct Load {
    over: Arc<AtomicBool>,
    visits: Arc<AtomicU64>,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Load {
    pub fn on(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let visits = Arc::new(AtomicU64::new(0));
        let connector = Connector::new().group(NamedGroup::X25519);
        let mut workers = Vec::new();
        for stays in [false, false, true] {
            let (over, visits, connector) = (over.clone(), visits.clone(), connector.clone());
            workers.push(thread::spawn(move || {
                let mut open: Option<Client> = None;
                while !over.load(Ordering::Relaxed) {
                    let mut client = open.take().unwrap_or_else(|| connector.connect(address));
                    client.ping(&[7; 5000]);
                    visits.fetch_add(1, Ordering::Relaxed);
                    if stays {
                        open = Some(client);
                    } else {
                        assert_eq!(client.close().1, End::Clean);
                    }
                }
                if let Some(client) = open {
                    assert_eq!(client.close().1, End::Clean);
                }
            }));
        }
        Load {
            over,
            visits,
            workers,
        }
    }

    /// Waits for some more of it, so that it was there before and after.
    #[track_caller]
    pub fn goes_on(&self) {
        let before = self.visits.load(Ordering::Relaxed);
        wait_until("clients were served", || {
            self.visits.load(Ordering::Relaxed) >= before + 10
        });
    }

    #[track_caller]
    pub fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join().expect("a client lost something");
        }
    }
}

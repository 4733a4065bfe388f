//! One process' run: a slot per connection, each with its pace, all on one thread.

use std::{
    cell::RefCell,
    future::Future,
    io::ErrorKind,
    rc::Rc,
    time::{Duration, Instant},
};

use lockgate::sys::process;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    task::{JoinSet, LocalSet},
    time::timeout,
};

use crate::{
    Error,
    arguments::{Arguments, What},
    client::{Connector, Stream},
    http::Http,
    pace::{Pace, paces},
    tally::Tally,
};

/// A unit that takes longer has failed.
const UNIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that are opened at the same time before the run.
const OPENING: usize = 64;

/// The time at once that an open loop asks for: the least there is.
const SLICE: Duration = Duration::from_micros(100);

/// One connection at a time, and what is done with it.
struct Slot {
    arguments: Rc<Arguments>,
    connector: Connector,
    tally: Rc<RefCell<Tally>>,
    /// Requests go over one connection.
    http: Option<Http>,
}

/// Connects, calls `ready` and awaits it, then runs to the end.
pub fn run<F: Future<Output = Result<(), Error>>>(
    arguments: &Arguments,
    ready: impl FnOnce() -> F,
) -> Result<Tally, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let tally = Rc::new(RefCell::new(Tally::new()?));
        let slots = open(arguments, &tally).await?;
        ready().await?;
        // What happened before counts for nothing.
        *tally.borrow_mut() = Tally::new()?;
        let start = Instant::now();
        if arguments.what != What::Idle {
            turn(arguments, slots).await?;
        }
        let mut tally = tally.replace(Tally::new()?);
        tally.counts.seconds = start.elapsed().as_secs_f64();
        Ok(tally)
    })
}

/// Every slot, connected (or with its first ticket).
async fn open(arguments: &Arguments, tally: &Rc<RefCell<Tally>>) -> Result<Vec<Slot>, Error> {
    let connector = Connector::new(arguments)?;
    let arguments = Rc::new(arguments.clone());
    let opening = Rc::new(Semaphore::new(OPENING));
    let mut tasks = JoinSet::new();
    for _ in 0..arguments.connections {
        let mut slot = Slot {
            arguments: Rc::clone(&arguments),
            connector: connector.for_slot(),
            tally: Rc::clone(tally),
            http: None,
        };
        let opening = Rc::clone(&opening);
        tasks.spawn_local(async move {
            let permit = opening.acquire().await;
            let opened = timeout(UNIT_TIMEOUT, slot.open()).await;
            drop(permit);
            opened??;
            Ok::<_, Error>(slot)
        });
    }
    let mut slots = Vec::new();
    while let Some(slot) = tasks.join_next().await {
        slots.push(slot??);
    }
    Ok(slots)
}

async fn turn(arguments: &Arguments, slots: Vec<Slot>) -> Result<(), Error> {
    if arguments.rate.is_some() {
        // Latency is the server's, not that of a client which waits for a CPU that it shares.
        process::wake_promptly(SLICE)?;
    }
    let paces = paces(
        arguments.connections,
        arguments.rate,
        arguments.time(),
        arguments.count,
    )?;
    let mut tasks = JoinSet::new();
    for (slot, pace) in slots.into_iter().zip(paces) {
        tasks.spawn_local(slot.run(pace));
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

impl Slot {
    async fn open(&mut self) -> Result<(), Error> {
        match (self.arguments.what, self.arguments.resume) {
            (What::Handshake, resume) => {
                self.handshake(true).await?;
                // So that what is counted is not the first that the server resumes.
                if resume {
                    self.handshake(false).await?;
                }
                Ok(())
            }
            _ => self.first().await,
        }
    }

    async fn run(mut self, mut pace: Pace) {
        while let Some(intended) = pace.next().await {
            let unit = timeout(UNIT_TIMEOUT, self.unit()).await;
            let result = unit.unwrap_or_else(|late| Err(late.into()));
            let mut tally = self.tally.borrow_mut();
            match result {
                Ok((ended, bytes)) => {
                    tally.done(ended.saturating_duration_since(intended), bytes);
                }
                Err(error) => {
                    tally.failed(&error);
                    self.http = None;
                }
            }
        }
    }

    /// When it was done, for latency, and the bytes it moved.
    async fn unit(&mut self) -> Result<(Instant, u64), Error> {
        let arguments = Rc::clone(&self.arguments);
        if arguments.what == What::Handshake {
            return self.handshake(false).await;
        }
        if self.http.is_none() {
            self.connect(false).await?;
        }
        let Some(http) = &mut self.http else {
            return Err("no connection".into());
        };
        let bytes = match arguments.what {
            What::Upload => http.post(&arguments.path, arguments.bytes).await?,
            _ => http.get(&arguments.path).await?,
        };
        self.close_if_fresh().await;
        Ok((Instant::now(), bytes))
    }

    /// The first connection of a slot, with what it brings: tickets have been read, and the connection
    /// to the backend is there.
    async fn first(&mut self) -> Result<(), Error> {
        self.connect(true).await?;
        if self.arguments.what == What::Idle {
            return Ok(());
        }
        if let Some(http) = &mut self.http {
            http.get("/").await?;
        }
        self.close_if_fresh().await;
        Ok(())
    }

    async fn connect(&mut self, first: bool) -> Result<(), Error> {
        let (stream, agreed) = self.connector.connect(first).await?;
        if let Some(agreed) = agreed {
            self.tally.borrow_mut().agreed(&agreed);
        }
        let bulk = matches!(self.arguments.what, What::Download | What::Upload);
        self.http = Some(Http::new(stream, bulk));
        Ok(())
    }

    async fn close_if_fresh(&mut self) {
        if self.arguments.fresh
            && let Some(http) = self.http.take()
        {
            http.close().await;
        }
    }

    async fn handshake(&mut self, first: bool) -> Result<(Instant, u64), Error> {
        let (mut stream, agreed) = self.connector.connect(first).await?;
        let done = Instant::now();
        let bytes = self.finish(&mut stream).await?;
        if let Some(agreed) = agreed {
            self.tally.borrow_mut().agreed(&agreed);
        }
        Ok((done, bytes))
    }

    /// To the end of both directions: a server that refuses a client certificate in TLS 1.3 says so
    /// only after the client's handshake is done.
    async fn finish(&self, stream: &mut Box<dyn Stream>) -> Result<u64, Error> {
        let greeting = self.arguments.greeting;
        if !greeting {
            stream.shutdown().await?;
        }
        let (mut bytes, mut buffer) = (0, [0; 4096]);
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => bytes += count as u64,
                Err(error) => {
                    let cut = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                    if !cut.contains(&error.kind()) {
                        return Err(error.into());
                    }
                    self.tally.borrow_mut().counts.unclean_ends += 1;
                    break;
                }
            }
        }
        if greeting {
            if bytes == 0 {
                return Err("the backend's greeting did not arrive".into());
            }
            // The other side may be gone already.
            let _ = stream.shutdown().await;
        }
        Ok(bytes)
    }
}

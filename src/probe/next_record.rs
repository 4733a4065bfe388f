//! Whether the kernel announces the record at which a read ended.
//!
//! A read of kernel TLS ends before a record of another type. That one becomes the next within this very
//! read, and whoever waits is woken then (tls_strp_msg_done, tls_rx_msg_ready in net/tls), although it
//! had arrived long before. Where this holds (6.1, 6.12), the relay takes a read that leaves room for the
//! last one. 7.2 announces nothing.

use std::{io, os::fd::AsFd, time::Duration};

use super::{
    deadline::Deadline,
    loopback::{CLOSE_NOTIFY, Pair},
};
use crate::sys::{epoll::Epoll, event::Event, ktls, socket};

const DATA: &[u8] = &[0x5a; 100];
/// An event is there when one asks. If one came late, reads would only cost more.
const EVENT_TIMEOUT: Duration = Duration::from_millis(20);

/// Uses up the connection from `pair.client` to `pair.server`.
pub fn is_announced(pair: &Pair) -> io::Result<bool> {
    // Over loopback they have arrived when they are sent.
    socket::send(pair.client.as_fd(), DATA)?;
    ktls::send(pair.client.as_fd(), ktls::CONTENT_ALERT, &CLOSE_NOTIFY)?;
    let mut epoll = Epoll::new(1)?;
    epoll.add(pair.server.as_fd(), 0)?;
    let mut buffer = [0; 2 * DATA.len()];
    let before = becomes_readable(&mut epoll)?;
    let (count, _) = ktls::receive(pair.server.as_fd(), &mut buffer)?;
    Ok(before && count == DATA.len() && becomes_readable(&mut epoll)?)
}

fn becomes_readable(epoll: &mut Epoll) -> io::Result<bool> {
    let deadline = Deadline::after(EVENT_TIMEOUT);
    let mut events = Vec::new();
    while let Ok(remaining) = deadline.remaining() {
        epoll.wait(Some(remaining), &mut events)?;
        let readable = |event: Event| match event {
            Event::Ready { readiness, .. } => readiness.is_readable(),
            Event::Removed { .. } => false,
        };
        if events.drain(..).any(readable) {
            return Ok(true);
        }
    }
    Ok(false)
}

//! What backends do with a connection.

use std::{
    io::{self, Read, Write},
    thread,
};

use super::{Socket, StreamEnd, data};

/// Returns what it gets; how its stream ended.
pub fn echo(mut socket: Socket) -> StreamEnd {
    let mut back = socket.share();
    let end = socket.drain(|bytes| drop(back.write_all(bytes)));
    socket.shutdown_write();
    end
}

/// Sends and checks so many bytes of two patterns at once, `data::UP` and `data::DOWN`.
pub fn exchange(up: u64, down: u64) -> impl Fn(Socket) -> StreamEnd + Send + Sync + 'static {
    move |mut socket| {
        let mut sending = socket.share();
        let sender = thread::spawn(move || {
            sending.source(data::DOWN, down).unwrap();
            sending.shutdown_write();
        });
        let (bytes, end) = socket.check(data::UP);
        assert_eq!(bytes, up, "bytes from the client");
        sender.join().unwrap();
        end
    }
}

/// The client first says in 8 bytes how much it wants; then both directions flow at once. Returns
/// how many bytes the client sent and how it ended.
pub fn ordered(mut socket: Socket) -> (u64, StreamEnd) {
    let mut order = [0; 8];
    if socket.read_exact(&mut order).is_err() {
        return (0, StreamEnd::Reset);
    }
    let mut sending = socket.share();
    let sender = thread::spawn(move || {
        let result = sending.source(data::DOWN, u64::from_be_bytes(order));
        if result.is_ok() {
            sending.shutdown_write();
        }
        result
    });
    let (bytes, end) = socket.check(data::UP);
    match sender.join().unwrap() {
        // Of two threads, one is told of a reset; the other sees an end.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => (bytes, StreamEnd::Reset),
        _ => (bytes, end),
    }
}

/// The client first says in a line how much it wants; it gets that, and then the end.
pub fn ordered_in_a_line(mut socket: Socket) -> StreamEnd {
    let mut line = String::new();
    while !line.ends_with('\n') {
        let mut byte = [0];
        match socket.read(&mut byte) {
            Ok(1) => line.push(char::from(byte[0])),
            Ok(_) => return StreamEnd::Clean,
            Err(_) => return StreamEnd::Reset,
        }
    }
    if socket
        .source(data::DOWN, line.trim().parse().unwrap())
        .is_err()
    {
        return StreamEnd::Reset;
    }
    socket.shutdown_write();
    socket.drain(|_| ())
}

//! Backends in the test's process: a listener, and a closure for each connection.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use super::{Check, Pattern, machine, patience};

/// How a peer's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    Clean,
    Reset,
}

/// A backend's side of one connection. Reads and writes have a deadline.
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// `T` is what the closure returns for each connection.
pub struct Backend<T> {
    pub address: String,
    listener: Arc<Listener>,
    results: Receiver<thread::Result<T>>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl<T: Send + 'static> Backend<T> {
    pub fn tcp(session: impl Fn(Socket) -> T + Send + Sync + 'static) -> Self {
        machine::isolate();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Backend::start(address, Listener::Tcp(listener), session)
    }

    pub fn unix(path: &Path, session: impl Fn(Socket) -> T + Send + Sync + 'static) -> Self {
        machine::isolate();
        let listener = UnixListener::bind(path).unwrap();
        Backend::start(
            format!("unix:{}", path.display()),
            Listener::Unix(listener),
            session,
        )
    }

    fn start(
        address: String,
        listener: Listener,
        session: impl Fn(Socket) -> T + Send + Sync + 'static,
    ) -> Self {
        let listener = Arc::new(listener);
        let (results_in, results) = channel();
        let accepting = listener.clone();
        thread::spawn(move || accept(&accepting, &Arc::new(session), &results_in));
        Backend {
            address,
            listener,
            results,
        }
    }

    /// What the closure returned for the next connection that is over.
    #[track_caller]
    pub fn next(&self) -> T {
        match self.results.recv_timeout(patience()) {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied());
                panic!("in the backend: {}", text.unwrap_or("?"))
            }
            Err(_) => panic!("the backend had no further connection, or it did not end"),
        }
    }

    /// Whether a connection has ended that `next` did not return yet.
    pub fn try_next(&self) -> Option<T> {
        self.results
            .try_recv()
            .ok()
            .map(|result| result.expect("in the backend"))
    }
}

impl<T> Drop for Backend<T> {
    fn drop(&mut self) {
        match &*self.listener {
            Listener::Tcp(listener) => machine::stop_listening(listener),
            Listener::Unix(listener) => machine::stop_listening(listener),
        }
    }
}

fn accept<T: Send + 'static>(
    listener: &Listener,
    session: &Arc<impl Fn(Socket) -> T + Send + Sync + 'static>,
    results: &Sender<thread::Result<T>>,
) {
    loop {
        let accepted = match listener {
            Listener::Tcp(listener) => listener.accept().map(|(socket, _)| Socket::Tcp(socket)),
            Listener::Unix(listener) => listener.accept().map(|(socket, _)| Socket::Unix(socket)),
        };
        let Ok(socket) = accepted else { return };
        socket.prepare();
        let (session, results) = (session.clone(), results.clone());
        thread::spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| session(socket)));
            // The test may have ended already.
            drop(results.send(result));
        });
    }
}

impl Socket {
    fn prepare(&self) {
        let limit = Some(patience());
        match self {
            Socket::Tcp(socket) => {
                socket.set_nodelay(true).unwrap();
                socket.set_read_timeout(limit).unwrap();
                socket.set_write_timeout(limit).unwrap();
            }
            Socket::Unix(socket) => {
                socket.set_read_timeout(limit).unwrap();
                socket.set_write_timeout(limit).unwrap();
            }
        }
    }

    pub fn shutdown_write(&self) {
        // The peer may be gone already.
        drop(match self {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        });
    }

    /// Closes with a reset; a unix socket does so when it has not read everything.
    pub fn reset(self) {
        if let Socket::Tcp(socket) = &self {
            machine::reset_on_close(socket);
        }
    }

    /// Another handle of the same connection, for a second thread.
    pub fn share(&self) -> Self {
        match self {
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone().unwrap()),
            Socket::Unix(socket) => Socket::Unix(socket.try_clone().unwrap()),
        }
    }

    /// Reads to the end of the stream; what arrives goes to `take`.
    #[track_caller]
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> StreamEnd {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return StreamEnd::Clean,
                Ok(bytes) => take(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return StreamEnd::Reset;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("reading from lockgate: {error}"),
            }
        }
    }

    #[track_caller]
    pub fn read_all(&mut self) -> (Vec<u8>, StreamEnd) {
        let mut all = Vec::new();
        let end = self.drain(|bytes| all.extend_from_slice(bytes));
        (all, end)
    }

    #[track_caller]
    pub fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads to the end and compares with a pattern: how many bytes, and how it ended.
    #[track_caller]
    pub fn check(&mut self, seed: u64) -> (u64, StreamEnd) {
        let mut check = Check::new(seed);
        let end = self.drain(|bytes| check.feed(bytes));
        (check.bytes, end)
    }

    /// Sends so many bytes of a pattern.
    pub fn source(&mut self, seed: u64, length: u64) -> io::Result<()> {
        let mut pattern = Pattern::new(seed);
        let mut buffer = vec![0; 64 << 10];
        let mut left = length;
        while left > 0 {
            let part = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            pattern.fill(&mut buffer[..part]);
            self.write_all(&buffer[..part])?;
            left -= part as u64;
        }
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.read(buffer),
            Socket::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write(buffer),
            Socket::Unix(socket) => socket.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

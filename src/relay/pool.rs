//! Buffers and pipes of one relay thread. A flow takes one while bytes are on their way, and gives
//! it back as soon as none are, so that idle connections hold neither.

use crate::{limits, sys::pipe::Pipe};

/// Room for four records of payload with what the record layer puts around each.
const BUFFER_BYTES: usize = limits::COPY_BYTES + 4 * 64;

/// Bytes in user memory; `start..end` waits to be written.
#[derive(Debug)]
pub struct Buffer {
    pub bytes: Box<[u8]>,
    pub start: usize,
    pub end: usize,
}

/// What carries the bytes of one flow.
#[derive(Debug, Default)]
pub enum Carrier {
    #[default]
    None,
    Buffer(Buffer),
    Pipe {
        pipe: Pipe,
        /// Bytes in it.
        filled: usize,
    },
}

#[derive(Debug, Default)]
pub struct Pool {
    buffers: Vec<Buffer>,
    pipes: Vec<Pipe>,
    pipes_in_use: usize,
    pipe_failures: u64,
}

impl Pool {
    pub fn buffer(&mut self) -> Buffer {
        let mut buffer = self.buffers.pop().unwrap_or_else(|| Buffer {
            bytes: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
        });
        buffer.start = 0;
        buffer.end = 0;
        buffer
    }

    /// An empty pipe of full size; `None` when none is to be had, and then one copies.
    pub fn pipe(&mut self) -> Option<Pipe> {
        let pipe = match self.pipes.pop() {
            Some(pipe) => pipe,
            None if self.pipes_in_use >= limits::PIPES_PER_THREAD => return None,
            None => match Pipe::new() {
                Ok(pipe) if pipe.slots() >= limits::PIPE_SLOTS_MIN => pipe,
                _ => {
                    self.pipe_failures += 1;
                    return None;
                }
            },
        };
        self.pipes_in_use += 1;
        Some(pipe)
    }

    /// Takes back what a flow used. A pipe with bytes in it is closed: they are another
    /// connection's.
    pub fn release(&mut self, carrier: &mut Carrier) {
        match std::mem::take(carrier) {
            Carrier::None => {}
            Carrier::Buffer(buffer) => {
                if self.buffers.len() < limits::BUFFERS_KEPT {
                    self.buffers.push(buffer);
                }
            }
            Carrier::Pipe { pipe, filled } => {
                self.pipes_in_use -= 1;
                if filled == 0 && self.pipes.len() < limits::PIPES_KEPT {
                    self.pipes.push(pipe);
                }
            }
        }
    }

    pub fn pipes_in_use(&self) -> usize {
        self.pipes_in_use
    }

    pub fn pipes_pooled(&self) -> usize {
        self.pipes.len()
    }

    /// Pipes that could not be had since the start.
    pub fn pipe_failures(&self) -> u64 {
        self.pipe_failures
    }
}

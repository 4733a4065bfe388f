//! Several processes for one load: each child runs its share, the parent starts them together and
//! adds up what they saw.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use crate::{
    Error,
    arguments::{Arguments, What},
    report, run,
    tally::{Sent, Tally},
};

const READY: &str = "READY";

/// Runs one share, in step with the parent. The result: whether nothing failed.
pub fn child(arguments: &Arguments) -> Result<bool, Error> {
    lockgate::sys::process::raise_descriptor_limit()?;
    let tally = run::run(arguments, || async { say_ready_and_wait() })?;
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &tally.to_sent())?;
    writeln!(out)?;
    Ok(tally.counts.failed == 0)
}

/// Runs all of it. The result: whether nothing failed.
pub fn parent(arguments: &Arguments) -> Result<bool, Error> {
    let mut children = Vec::new();
    for index in 0..arguments.processes {
        children.push(Running::start(index)?);
    }
    let tally = attend(arguments, &mut children);
    if tally.is_err() {
        for child in &mut children {
            // It has ended, or it is of no use any more.
            let _ = child.process.kill();
        }
    }
    for child in &mut children {
        child.process.wait()?;
    }
    let tally = tally?;
    match (arguments.what, arguments.json) {
        (What::Idle, _) => {}
        (_, true) => report::json(&tally)?,
        (_, false) => report::text(&tally),
    }
    Ok(tally.counts.failed == 0)
}

fn attend(arguments: &Arguments, children: &mut [Running]) -> Result<Tally, Error> {
    for child in &mut *children {
        let line = child.line()?;
        if line != READY {
            return Err("a process could not get ready; its message is above".into());
        }
    }
    if arguments.wait || arguments.what == What::Idle {
        say_ready_and_wait()?;
    }
    for child in &mut *children {
        // The end of stdin starts it as well.
        drop(child.process.stdin.take());
    }
    let mut tally = Tally::new()?;
    for child in children {
        let sent: Sent = serde_json::from_str(&child.line()?)?;
        tally.merge(&sent);
    }
    Ok(tally)
}

fn say_ready_and_wait() -> Result<(), Error> {
    println!("{READY}");
    io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

struct Running {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(index: u32) -> Result<Self, Error> {
        let mut process = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .arg(format!("--child={index}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("a child without output")?;
        Ok(Running {
            process,
            output: BufReader::new(output),
        })
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

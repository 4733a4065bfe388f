//! The probe for people: what, yes or no, and the detail or the remedy.

use std::fmt::Write;

use super::{IoUring, Kernel, KernelTls, descriptors::Descriptors, pipes::Pipes};
use crate::{config::Offload, limits};

/// Details are broken before this column.
const WIDTH: usize = 100;

struct Row {
    what: String,
    /// `yes`, `no`, a number.
    answer: String,
    detail: String,
}

pub fn table(kernel: &Kernel) -> String {
    let mut rows = vec![row("kernel", &kernel.release, "")];
    match &kernel.tls {
        Ok(tls) => tls_rows(tls, &mut rows),
        Err(why) => rows.push(row("kernel TLS", "no", why)),
    }
    match &kernel.io_uring {
        Ok(ring) => ring_rows(ring, &mut rows),
        Err(why) => rows.push(row("io_uring", "no", why)),
    }
    rows.push(pipes_row(&kernel.pipes));
    descriptor_rows(&kernel.descriptors, &mut rows);
    let mut out = String::new();
    align(&rows, &mut out);
    out.push('\n');
    let warnings = kernel.warnings.iter().cloned();
    for warning in warnings.chain(kernel.descriptors.warning()) {
        wrapped("warning: ", &warning, &mut out);
    }
    // One line, whatever its length, so that it can be grepped.
    out.push_str(&kernel.data_path(Offload::Auto));
    out.push('\n');
    out
}

fn tls_rows(tls: &KernelTls, rows: &mut Vec<Row>) {
    rows.push(row("kernel TLS", "yes", ""));
    for suite in &tls.suites {
        let why = suite.works.as_ref().err().map_or("", String::as_str);
        rows.push(row(&format!("  {suite}"), yes_no(suite.works.is_ok()), why));
    }
    let detail = if tls.rekey {
        ""
    } else {
        "a KeyUpdate ends a connection in the kernel, and so does limits.records_per_key; Linux \
         6.14 or newer can go on"
    };
    rows.push(row("  KeyUpdate", yes_no(tls.rekey), detail));
    let detail = "TLS 1.3 straight into the reader's buffer (TLS_RX_EXPECT_NO_PAD)";
    rows.push(row("  no padding", yes_no(tls.no_padding), detail));
    let detail = "a record that ends a read is announced, so that one read is enough";
    rows.push(row(
        "  next record",
        yes_no(tls.announces_next_record),
        detail,
    ));
    for cost in &tls.costs {
        let (to_clients, from_clients) = tls.pays(cost.cipher);
        let detail = format!("bulk, of its cost in user space: {cost}");
        let answer = yes_no(to_clients || from_clients);
        rows.push(row(&format!("  cheaper, {}", cost.cipher), answer, &detail));
    }
    let (answer, detail) = match &tls.loses_bytes {
        Ok(false) => (
            "yes",
            "self-test: every byte came through a pipe of one slot",
        ),
        Ok(true) => (
            "no",
            "self-test: bytes were lost in a pipe of one slot; see the warning",
        ),
        Err(why) => ("?", why.as_str()),
    };
    rows.push(row("  splice keeps bytes", answer, detail));
}

fn ring_rows(ring: &IoUring, rows: &mut Vec<Row>) {
    rows.push(row("io_uring", "yes", ""));
    let deferred = yes_no(ring.deferred_completions);
    let detail = "SINGLE_ISSUER, DEFER_TASKRUN";
    rows.push(row("  deferred completions", deferred, detail));
    rows.push(row("  multishot poll", "yes", "POLL_ADD, tested"));
    let count = ring.operations.len().to_string();
    rows.push(row("  operations", &count, &ring.operations.join(" ")));
}

fn pipes_row(pipes: &Pipes) -> Row {
    let (answer, slots) = match &pipes.slots {
        Ok(slots) => (
            yes_no(*slots >= limits::PIPE_SLOTS_MIN),
            format!("{slots} slots"),
        ),
        Err(why) => ("no", why.clone()),
    };
    let share = match (pipes.unbounded, pipes.full_size()) {
        (true, _) => "no bound on their number for this user".to_owned(),
        (false, Some(pipes)) => format!("{pipes} of full size for all processes of this user"),
        (false, None) => "no known bound on their number".to_owned(),
    };
    let bytes_max = pipes.bytes_max.map_or(String::new(), |bytes| {
        format!("; at most {bytes} bytes each")
    });
    row("pipes", answer, &format!("{slots}; {share}{bytes_max}"))
}

fn descriptor_rows(descriptors: &Descriptors, rows: &mut Vec<Row>) {
    let ceiling = descriptors
        .ceiling
        .map_or(String::new(), |limit| format!(", nr_open {limit}"));
    let detail = format!(
        "soft {}, hard {}{ceiling}; enough for {} connections",
        descriptors.soft,
        descriptors.hard,
        descriptors.connections()
    );
    let answer = yes_no(descriptors.warning().is_none());
    rows.push(row("open files", answer, &detail));
    let (answer, detail) = match descriptors.listen_queue {
        Some(queue) => (
            yes_no(queue >= u64::from(limits::LISTEN_BACKLOG.unsigned_abs())),
            format!(
                "somaxconn {queue}, lockgate asks for {}",
                limits::LISTEN_BACKLOG
            ),
        ),
        None => ("?", "somaxconn is not known".to_owned()),
    };
    rows.push(row("listen queue", answer, &detail));
}

fn row(what: &str, answer: &str, detail: &str) -> Row {
    Row {
        what: what.to_owned(),
        answer: answer.to_owned(),
        detail: detail.to_owned(),
    }
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn align(rows: &[Row], out: &mut String) {
    let what = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    // The release is the one long answer, and has no detail.
    let with_detail = rows.iter().filter(|row| !row.detail.is_empty());
    let answer = with_detail.map(|row| row.answer.len()).max().unwrap_or(0);
    for row in rows {
        let head = format!("{:what$}  {:answer$}  ", row.what, row.answer);
        wrapped(&head, &row.detail, out);
    }
}

/// Lines of `text` behind `head`, and below each other.
fn wrapped(head: &str, text: &str, out: &mut String) {
    let indent = head.len();
    let mut line = head.to_owned();
    for word in text.split(' ') {
        if line.len() > indent && line.len() + word.len() > WIDTH {
            let full = std::mem::replace(&mut line, " ".repeat(indent));
            push_line(&full, out);
        }
        line.push_str(word);
        line.push(' ');
    }
    push_line(&line, out);
}

fn push_line(line: &str, out: &mut String) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{}", line.trim_end());
}

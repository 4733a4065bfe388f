use std::{
    fs::{self, File},
    io::{BufRead, BufReader, PipeReader, Read},
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a writer told, in words.
struct Told(Receiver<String>);

impl Told {
    #[track_caller]
    fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).unwrap()
    }
}

fn start(sink: Sink, room: usize) -> (Writer, Arc<AtomicU64>, Told) {
    let (sender, told) = channel();
    let left_out = Arc::new(AtomicU64::new(0));
    let tell = move |_: &str, trouble: Trouble<'_>| {
        let text = match trouble {
            Trouble::Failing(error) => format!("failing: {:?}", error.raw_os_error()),
            Trouble::Recovered => "recovered".to_owned(),
            Trouble::NotReopened(error) => format!("not reopened: {:?}", error.kind()),
            Trouble::LeftOut(lines) => format!("left out {lines}"),
        };
        let _ = sender.send(text);
        None
    };
    let writer = Writer::start("test", sink, room, Arc::clone(&left_out), tell).unwrap();
    (writer, left_out, Told(told))
}

/// The smallest pipe that there is, with somebody who may read from it.
fn pipe() -> (PipeReader, Sink) {
    let (reader, writer) = std::io::pipe().unwrap();
    let size = nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096);
    nix::fcntl::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), size).unwrap();
    let sink = Sink::File {
        path: "a pipe".into(),
        file: File::from(OwnedFd::from(writer)),
    };
    (reader, sink)
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lockgate-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn line(number: usize) -> Vec<u8> {
    format!("line {number} {}\n", "x".repeat(100)).into_bytes()
}

fn numbers(text: &str) -> Vec<usize> {
    let number = |text: &str| {
        assert_eq!(text.len() + 1, line(number_of(text)).len());
        number_of(text)
    };
    text.lines().map(number).collect()
}

fn number_of(line: &str) -> usize {
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_blocked_sink_holds_up_nobody_and_what_is_left_out_is_counted_and_told() {
    let (reader, sink) = pipe();
    let (writer, left_out, told) = start(sink, 10_000);
    let began = Instant::now();
    for number in 0..10_000 {
        writer.put(&line(number));
    }
    writer.flush(Duration::from_millis(50));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let lost = left_out.load(Ordering::Relaxed);
    assert!((9_000..10_000).contains(&lost), "{lost}");

    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        BufReader::new(reader).read_to_string(&mut text).unwrap();
        text
    });
    writer.flush(PATIENCE);
    drop(writer);
    let mut all_told = 0;
    while all_told < lost {
        let more = told.next();
        let more = more.strip_prefix("left out ").unwrap();
        all_told += more.parse::<u64>().unwrap();
    }
    assert_eq!(all_told, lost);
    let numbers = numbers(&reading.join().unwrap());
    assert_eq!(numbers.len() as u64 + lost, 10_000);
    assert!(numbers.is_sorted());
}

#[test]
fn a_full_disk_loses_nothing_that_fits_into_the_queue() {
    let folder = Folder::new("full-disk");
    let (path, real) = (folder.0.join("log"), folder.0.join("real"));
    symlink("/dev/full", &path).unwrap();
    let (writer, left_out, told) = start(Sink::file(&path).unwrap(), 1 << 20);
    for number in 0..1000 {
        writer.put(&line(number));
    }
    let full = format!("failing: {:?}", Some(libc::ENOSPC));
    assert_eq!(told.next(), full);
    let began = Instant::now();
    writer.flush(PATIENCE);
    assert!(began.elapsed() < PATIENCE, "a flush waits for a full disk");

    fs::write(&real, "").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&real, &path).unwrap();
    writer.reopen();
    assert_eq!(told.next(), "recovered");
    writer.flush(PATIENCE);
    let numbers = numbers(&fs::read_to_string(&real).unwrap());
    assert!(numbers.iter().copied().eq(0..1000), "{numbers:?}");
    assert_eq!(left_out.load(Ordering::Relaxed), 0);
}

#[test]
fn no_line_is_lost_or_torn_while_files_are_renamed_and_reopened() {
    let folder = Folder::new("reopen");
    let path = folder.0.join("log");
    let (writer, left_out, _told) = start(Sink::file(&path).unwrap(), 64 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let writer = &writer;
            scope.spawn(move || {
                for number in 0..5000 {
                    writer.put(&line(number * 4 + thread));
                }
            });
        }
        for turn in 0..20 {
            fs::rename(&path, path.with_extension(turn.to_string())).unwrap();
            writer.reopen();
            wait_for_file(&path);
        }
    });
    writer.flush(PATIENCE);
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder.0).unwrap() {
        all.extend(numbers(&fs::read_to_string(entry.unwrap().path()).unwrap()));
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..20_000), "{} lines", all.len());
    assert_eq!(left_out.load(Ordering::Relaxed), 0);
}

fn wait_for_file(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < PATIENCE, "not reopened");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_cannot_be_reopened_goes_on_under_its_old_name() {
    let folder = Folder::new("not-reopened");
    let path = folder.0.join("below").join("log");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let (writer, _, told) = start(Sink::file(&path).unwrap(), 1 << 20);
    let moved = folder.0.join("moved");
    fs::rename(path.parent().unwrap(), &moved).unwrap();
    writer.reopen();
    assert_eq!(told.next(), "not reopened: NotFound");
    writer.put(&line(7));
    writer.flush(PATIENCE);
    let text = fs::read_to_string(moved.join("log")).unwrap();
    assert_eq!(numbers(&text), [7]);
}

#[test]
fn what_was_put_is_written_after_the_writer_is_gone() {
    let (reader, sink) = pipe();
    let (writer, _, _told) = start(sink, 1 << 20);
    for number in 0..1000 {
        writer.put(&line(number));
    }
    drop(writer);
    let lines: Vec<_> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert!(lines.iter().map(|line| number_of(line)).eq(0..1000));
}

#[test]
fn a_line_that_was_begun_in_one_file_is_whole_in_the_next() {
    let mut batch = Batch::default();
    batch.push(b"first\n");
    batch.push(b"second\n");
    batch.push(b"third\n");
    let (reader, sink) = std::io::pipe().unwrap();
    let (mut reader, mut sink) = (
        reader,
        Sink::File {
            path: PathBuf::new(),
            file: File::from(OwnedFd::from(sink)),
        },
    );
    batch.advance(9);
    batch.rewind();
    assert_eq!(batch.records_left(), 2);
    sink.write(&mut batch).unwrap();
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "second\nthird\n");
}

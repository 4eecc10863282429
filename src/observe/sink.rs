//! The writer thread behind all log lines, and the bounded queue in front of it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Takes blocks of whole lines and never waits.
#[derive(Clone, Debug)]
pub struct LogSink {
    queue: SyncSender<Message>,
    /// Bytes that were lost since the log last said so.
    dropped: Arc<AtomicU64>,
    /// Lines that were lost, ever.
    lines_dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Lines(Vec<u8>),
    /// Everything before this is written once it is answered.
    Flush(SyncSender<()>),
}

impl LogSink {
    /// Starts a thread that writes to `out`. Dropping every clone ends it.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(mut out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(MAX_BLOCKS);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            for message in messages {
                let missed = lost.swap(0, Ordering::Relaxed);
                // a log that cannot be written has nowhere to say so
                if missed > 0 {
                    let _ = writeln!(
                        out,
                        "log: {missed} bytes of log lines were dropped, the reader is too slow"
                    );
                }
                match message {
                    Message::Lines(block) => {
                        let _ = out.write_all(&block).and_then(|()| out.flush());
                    }
                    Message::Flush(written) => {
                        let _ = written.send(());
                    }
                }
            }
        })?;
        Ok(Self { queue, dropped, lines_dropped: Arc::default() })
    }

    /// Hands over a block of whole lines; drops and counts it when the writer is too far behind.
    pub fn send(&self, block: Vec<u8>) {
        let refused = match self.queue.try_send(Message::Lines(block)) {
            Ok(()) => return,
            Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) => refused,
        };
        if let Message::Lines(block) = refused {
            let lines = memchr::memchr_iter(b'\n', &block).count() as u64;
            self.dropped.fetch_add(block.len() as u64, Ordering::Relaxed);
            self.lines_dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// How many lines were lost so far.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        self.lines_dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over so far is written, at most for `limit`. For the end of the program.
    pub fn flush(&self, limit: Duration) {
        let (written, seen) = sync_channel(1);
        let mut message = Message::Flush(written);
        for _ in 0..limit.as_millis() / LOOK_EVERY.as_millis() {
            match self.queue.try_send(message) {
                Ok(()) => {
                    let _ = seen.recv_timeout(limit); // a reader that stands still is not waited for
                    return;
                }
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return,
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// How often a full queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Most blocks that wait to be written; with [`super::access::FULL_BLOCK`] about 8 MiB.
const MAX_BLOCKS: usize = 256;

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::{LogSink, MAX_BLOCKS};

    struct Gated(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_but_never_waits() {
        let (gate, held): (Sender<()>, _) = channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = LogSink::start(Gated(held, Arc::clone(&written))).unwrap();
        for _ in 0..MAX_BLOCKS * 2 {
            sink.send(b"line\n".to_vec()); // would hang here if it waited
        }
        drop(gate);
        sink.flush(Duration::from_secs(20));
        sink.send(b"last\n".to_vec());
        sink.flush(Duration::from_secs(20));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.contains("were dropped"), "{text}");
        assert!(sink.lines_dropped() >= MAX_BLOCKS as u64 - 1);
        assert!(text.lines().filter(|line| *line == "line").count() <= MAX_BLOCKS + 1);
    }
}

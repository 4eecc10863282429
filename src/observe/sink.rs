//! The writer thread behind all log lines, and the bounded queue in front of it.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Takes blocks of whole lines and never waits.
#[derive(Clone, Debug)]
pub struct LogSink {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// The thread that writes. Dropping every [`LogSink`] ends it.
#[derive(Debug)]
pub struct LogWriter(JoinHandle<()>);

impl LogSink {
    /// Starts a thread that writes to `out`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(mut out: impl Write + Send + 'static) -> std::io::Result<(Self, LogWriter)> {
        let (queue, blocks) = sync_channel::<Vec<u8>>(MAX_BLOCKS);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            for block in blocks {
                let missed = lost.swap(0, Ordering::Relaxed);
                // a log that cannot be written has nowhere to say so
                if missed > 0 {
                    let _ = writeln!(
                        out,
                        "log: {missed} bytes of log lines were dropped, the reader is too slow"
                    );
                }
                let _ = out.write_all(&block).and_then(|()| out.flush());
            }
        })?;
        Ok((Self { queue, dropped }, LogWriter(thread)))
    }

    /// Hands over a block of whole lines; drops and counts it when the writer is too far behind.
    pub fn send(&self, block: Vec<u8>) {
        if let Err(TrySendError::Full(block) | TrySendError::Disconnected(block)) =
            self.queue.try_send(block)
        {
            self.dropped.fetch_add(block.len() as u64, Ordering::Relaxed);
        }
    }
}

impl LogWriter {
    /// Waits until everything handed over is written. Every [`LogSink`] must be gone.
    pub fn finish(self) {
        let _ = self.0.join(); // a writer that panicked has nothing left to write
    }
}

/// Most blocks that wait to be written; with [`super::access::FULL_BLOCK`] about 8 MiB.
const MAX_BLOCKS: usize = 256;

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

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
        let (sink, writer) = LogSink::start(Gated(held, Arc::clone(&written))).unwrap();
        for _ in 0..MAX_BLOCKS * 2 {
            sink.send(b"line\n".to_vec()); // would hang here if it waited
        }
        drop(gate);
        sink.send(b"last\n".to_vec());
        drop(sink);
        writer.finish();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.contains("were dropped"), "{text}");
        assert!(text.lines().filter(|line| *line == "line").count() <= MAX_BLOCKS + 1);
    }
}

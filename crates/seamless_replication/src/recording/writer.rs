//! The thread that writes a recording.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use seamless_wire::{
    recording::{Record, put_block},
    snapshot::Compressor,
};

/// Batches that wait for the disk; more are not taken.
const WAITING: usize = 8;

/// Room that is left for the last record.
const END_ROOM: u64 = 128;

/// What can be written to.
pub(super) trait Sink: Write + Send {
    /// Waits until everything is where it belongs.
    fn settle(&mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Sink for std::fs::File {
    fn settle(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// What the thread tells.
#[derive(Default)]
struct Shared {
    bytes: AtomicU64,
    full: AtomicBool,
    failed: Mutex<Option<io::Error>>,
    is_failed: AtomicBool,
}

/// Hands batches of records to a thread that writes them. Never waits for it.
pub(super) struct BlockWriter {
    batches: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl BlockWriter {
    /// Writes the head, and begins. What is written never exceeds `max_bytes` (but for the head).
    pub(super) fn start(
        mut sink: Box<dyn Sink>,
        head: &[u8],
        max_bytes: u64,
        compressor: Arc<dyn Compressor>,
    ) -> io::Result<Self> {
        sink.write_all(head)?;
        let shared = Arc::new(Shared::default());
        shared.bytes.store(head.len() as u64, Ordering::Relaxed);
        let (batches, work) = sync_channel(WAITING);
        let task = Task {
            sink,
            compressor,
            max_bytes,
            shared: shared.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("seamless-recorder".into())
            .spawn(move || task.run(&work))?;
        Ok(Self {
            batches: Some(batches),
            thread: Some(thread),
            shared,
        })
    }

    /// Gives whole records to the thread. `false` if it has too much to do or is over: they are gone.
    pub(super) fn give(&self, records: Vec<u8>) -> bool {
        let Some(batches) = &self.batches else {
            return false;
        };
        match batches.try_send(records) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Gives the last records, and waits until there is room for them.
    pub(super) fn give_last(&self, records: Vec<u8>) {
        if let Some(batches) = &self.batches {
            // An error: the thread is over, and says why.
            let _ = batches.send(records);
        }
    }

    /// Bytes in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Whether the file has reached its greatest length.
    pub(super) fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// Whether nothing can be written any more.
    pub(super) fn is_failed(&self) -> bool {
        self.shared.is_failed.load(Ordering::Relaxed)
    }

    /// Waits until everything that was given is written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        drop(self.batches.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return Err(io::Error::other("the writing thread panicked"));
        }
        let mut failed = self
            .shared
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failed.take().map_or(Ok(()), Err)
    }
}

struct Task {
    sink: Box<dyn Sink>,
    compressor: Arc<dyn Compressor>,
    max_bytes: u64,
    shared: Arc<Shared>,
}

impl Task {
    fn run(mut self, work: &Receiver<Vec<u8>>) {
        if let Err(error) = self.write_all(work) {
            tracing::error!(%error, "the recording ends: it cannot be written");
            let failed = self.shared.failed.lock();
            *failed.unwrap_or_else(PoisonError::into_inner) = Some(error);
            self.shared.is_failed.store(true, Ordering::Relaxed);
        }
    }

    fn write_all(&mut self, work: &Receiver<Vec<u8>>) -> io::Result<()> {
        while let Ok(records) = work.recv() {
            let mut block = Vec::new();
            put_block(&records, &*self.compressor, &mut block);
            let after = self.shared.bytes.load(Ordering::Relaxed) + block.len() as u64;
            if after + END_ROOM > self.max_bytes {
                self.shared.full.store(true, Ordering::Relaxed);
                return self.end(true);
            }
            self.put(&block)?;
        }
        self.end(false)
    }

    fn end(&mut self, full: bool) -> io::Result<()> {
        let (mut record, mut block) = (Vec::new(), Vec::new());
        Record::End { full }.write(&mut record);
        put_block(&record, &*self.compressor, &mut block);
        self.put(&block)?;
        self.sink.settle()
    }

    fn put(&mut self, block: &[u8]) -> io::Result<()> {
        self.sink.write_all(block)?;
        self.sink.flush()?;
        let bytes = &self.shared.bytes;
        bytes.fetch_add(block.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

//! A full resynchronisation: the snapshot's way from the socket, perhaps over a file, to all shards, and the moment at which it takes the place
//! of the data.
//!
//! Invariants
//! - shards load into a keyspace of their own beside the live one; that takes its place on all shards at one moment, or nowhere
//! - nothing is loaded while commands of the stream before are still under way
//! - from the moment at which the old data are dropped until the new ones are complete, the node has no position that it could resume from
//!
//! Stages: asked for → (size known) deciding → receiving into a file → beginning on all shards → loading → installing. From the socket there is
//! no file.

use std::path::Path;

use tracing::{info, warn};

use super::io::RECEIVE_BYTES;
use super::link::{Event, Position};
use super::load::{Loader, Parcel, Summary};
use super::spool::Spool;
use crate::config::DisklessLoad;
use crate::node::random_hex;
use crate::replication::Replication;
use crate::replication::primary::Event as PrimaryEvent;
use crate::replication::status::LoadingStatus;
use crate::runtime::clock;
use crate::shard::role::Loading;
use crate::shard::{Message, Shard, ShardIo};

/// One full resynchronisation.
pub struct Sync {
    /// Tells what shards say of it from what they say of another one.
    id: u64,
    position: Option<Position>,
    stage: Stage,
    /// How clients are served meanwhile.
    mode: Loading,
    spool: Option<Spool>,
    /// Bytes that came when they could not be dealt with yet.
    early: Vec<u8>,
    /// All bytes are here.
    ended: bool,
    loader: Loader,
    summary: Option<Summary>,
    size: Option<u64>,
    started_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    /// So many shards have still to say how many keys they have.
    Deciding {
        waiting: usize,
        keys: usize,
    },
    /// Into the file.
    Receiving,
    /// The shards are being told.
    Beginning,
    Loading,
    /// The shards are being told.
    Installing,
}

impl Sync {
    pub fn new(id: u64, position: Option<Position>, loader: Loader) -> Sync {
        Sync {
            id,
            position,
            stage: Stage::Asked,
            mode: Loading::No,
            spool: None,
            early: Vec::new(),
            ended: false,
            loader,
            summary: None,
            size: None,
            started_ms: 0,
        }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether more bytes of the snapshot can be dealt with.
    pub fn wants_bytes(&self) -> bool {
        match self.stage {
            Stage::Asked | Stage::Receiving => true,
            Stage::Loading => self.spool.is_none() && !self.loader.is_full(),
            Stage::Deciding { .. } | Stage::Beginning | Stage::Installing => false,
        }
    }

    /// Whether shards know of it.
    fn is_on_shards(&self) -> bool {
        matches!(self.stage, Stage::Beginning | Stage::Loading | Stage::Installing)
    }

    pub fn status(&self) -> Option<LoadingStatus> {
        self.is_on_shards().then(|| LoadingStatus {
            is_async: self.mode == Loading::Async,
            started_ms: self.started_ms,
            total_bytes: self.size.unwrap_or(0),
            loaded_bytes: self.loader.taken,
        })
    }
}

impl Replication {
    /// The primary has announced a snapshot for this position.
    pub(super) fn sync_asked(&mut self, position: Option<Position>) {
        let config = &self.config;
        let databases = u16::try_from(config.databases).unwrap_or(u16::MAX);
        let loader = Loader::new(self.shared.shards, databases, config.proto_max_bulk_len, config.rdbchecksum);
        self.replica.next_sync += 1;
        self.replica.sync = Some(Sync::new(self.replica.next_sync, position, loader));
    }

    /// The payload begins: how it is to be loaded depends on whether there are keys.
    pub(super) fn sync_begins(&mut self, io: &mut ShardIo, size: Option<u64>) {
        let shards = self.shared.shards;
        let Some(sync) = &mut self.replica.sync else { return };
        sync.size = size;
        sync.stage = Stage::Deciding { waiting: shards, keys: 0 };
        let id = sync.id;
        for shard in 0..shards {
            io.post(
                shard,
                Message::Run(Box::new(move |shard, io| {
                    let keys = shard.key_count();
                    let answer = move |replication: &mut Replication, io: &mut ShardIo| {
                        replication.sync_counted(io, id, keys);
                    };
                    io.post(shard.shared.shards, Message::Control(Box::new(answer)));
                })),
            );
        }
    }

    /// A shard has so many keys.
    fn sync_counted(&mut self, io: &mut ShardIo, id: u64, more: usize) {
        if let Some(sync) = self.replica.sync_of(id)
            && let Stage::Deciding { waiting, keys } = &mut sync.stage
        {
            *waiting -= 1;
            *keys += more;
            self.sync_decide(io);
        }
    }

    /// Begins to receive or to load, as soon as it is known which, and nothing else is under way.
    pub(super) fn sync_decide(&mut self, io: &mut ShardIo) {
        let Some(Sync { stage: Stage::Deciding { waiting: 0, keys }, size, .. }) = &self.replica.sync else { return };
        if !self.replica.applier.is_idle() {
            return;
        }
        let from_socket = match self.config.repl_diskless_load {
            DisklessLoad::Disabled => false,
            DisklessLoad::OnEmptyDb => *keys == 0,
            DisklessLoad::Swapdb => true,
        };
        let to = if from_socket { "to parser" } else { "to disk" };
        match size {
            Some(size) => info!("MASTER <-> REPLICA sync: receiving {size} bytes from master {to}"),
            None => info!("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {to}"),
        }
        if from_socket {
            return self.sync_load(io);
        }
        match Spool::create(Path::new("."), clock::unix_ms() / 1000) {
            Ok(spool) => {
                let Some(sync) = &mut self.replica.sync else { return };
                sync.spool = Some(spool);
                sync.stage = Stage::Receiving;
                let early = std::mem::take(&mut sync.early);
                self.sync_payload(io, &early);
                self.sync_received(io);
                // Nothing was received while it was not known where to.
                self.receive(io);
            }
            Err(error) => {
                warn!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {error}");
                self.tell_link(io, Event::Failed);
            }
        }
    }

    /// Bytes of the snapshot have come.
    pub(super) fn sync_payload(&mut self, io: &mut ShardIo, bytes: &[u8]) {
        let Some(sync) = &mut self.replica.sync else { return };
        match (sync.stage, &mut sync.spool) {
            (Stage::Receiving, Some(spool)) => {
                if let Err(error) = spool.write(bytes) {
                    warn!(
                        "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA synchronization: {error}"
                    );
                    self.tell_link(io, Event::Failed);
                }
            }
            (Stage::Loading, None) => self.sync_feed(io, bytes),
            _ => sync.early.extend_from_slice(bytes),
        }
    }

    /// All bytes of the snapshot have come.
    pub(super) fn sync_ended(&mut self, io: &mut ShardIo) {
        if let Some(sync) = &mut self.replica.sync {
            sync.ended = true;
            self.sync_received(io);
        }
    }

    /// Goes on when all bytes are in the file, or with the shards.
    fn sync_received(&mut self, io: &mut ShardIo) {
        let Some(sync) = &mut self.replica.sync else { return };
        if !sync.ended {
            return;
        }
        match (sync.stage, &mut sync.spool) {
            (Stage::Receiving, Some(spool)) => match spool.rewind() {
                Ok(()) => self.sync_load(io),
                Err(error) => {
                    warn!("The file of the snapshot cannot be read: {error}");
                    self.tell_link(io, Event::Failed);
                }
            },
            (Stage::Loading, None) => self.sync_finish(io),
            _ => {}
        }
    }

    // Loading

    /// Lets all shards begin to load.
    fn sync_load(&mut self, io: &mut ShardIo) {
        let own_id = self.primary.machine.stream().history().id().to_owned();
        let Some(sync) = &mut self.replica.sync else { return };
        // As in Redis: old data may be served only if they are an earlier state of the same data.
        let swaps = self.config.repl_diskless_load == DisklessLoad::Swapdb;
        let same = sync.position.as_ref().is_some_and(|position| position.id == own_id);
        sync.mode = if swaps && same { Loading::Async } else { Loading::Blocking };
        sync.stage = Stage::Beginning;
        sync.started_ms = clock::unix_ms();
        let (id, mode) = (sync.id, sync.mode);
        if !swaps {
            info!("MASTER <-> REPLICA sync: Flushing old data");
            self.forget_position(io);
        }
        self.cut(
            io,
            Box::new(move |shard, io| shard.begin_loading(io, id, mode, !swaps)),
            Box::new(move |replication, io, _| replication.sync_loads(io, id)),
        );
    }

    /// The data are no longer those of any history.
    fn forget_position(&mut self, io: &mut ShardIo) {
        self.replica.has_position = false;
        if let Some(link) = &mut self.replica.link {
            link.resume = None;
        }
        self.tell_primary(io, PrimaryEvent::NewHistory { id: random_hex(), offset: 0 });
    }

    /// All shards load.
    fn sync_loads(&mut self, io: &mut ShardIo, id: u64) {
        let Some(sync) = self.replica.sync_of(id) else { return };
        info!("MASTER <-> REPLICA sync: Loading DB in memory");
        sync.stage = Stage::Loading;
        let early = std::mem::take(&mut sync.early);
        if sync.spool.is_some() {
            self.sync_read(io);
        } else {
            self.sync_feed(io, &early);
            self.sync_received(io);
            self.receive(io);
        }
    }

    /// Loads from the file until shards have enough to do.
    fn sync_read(&mut self, io: &mut ShardIo) {
        let mut buffer = std::mem::take(&mut self.replica.scratch);
        buffer.resize(RECEIVE_BYTES, 0);
        while let Some(sync) = &mut self.replica.sync
            && sync.stage == Stage::Loading
            && sync.summary.is_none()
            && !sync.loader.is_full()
            && let Some(spool) = &mut sync.spool
        {
            match spool.read(&mut buffer) {
                Ok(0) => self.sync_finish(io),
                Ok(read) => self.sync_feed(io, &buffer[..read]),
                Err(error) => {
                    warn!("The file of the snapshot cannot be read: {error}");
                    self.tell_link(io, Event::Failed);
                }
            }
        }
        self.replica.scratch = buffer;
    }

    fn sync_feed(&mut self, io: &mut ShardIo, bytes: &[u8]) {
        let Some(sync) = &mut self.replica.sync else { return };
        match sync.loader.feed(bytes) {
            Ok(()) => self.sync_post(io),
            Err(error) => self.sync_failed(io, &error.to_string()),
        }
    }

    /// Sends the shards what is ready for them.
    fn sync_post(&mut self, io: &mut ShardIo) {
        let Some(Sync { id, loader, .. }) = &mut self.replica.sync else { return };
        let id = *id;
        while let Some((shard, parcel)) = loader.ready.pop_front() {
            io.post(shard, Message::Run(Box::new(move |shard, io| load(shard, io, id, &parcel))));
        }
    }

    /// A shard has dealt with a parcel of so many bytes.
    fn on_parcel_loaded(&mut self, io: &mut ShardIo, id: u64, bytes: usize, result: Result<(), String>) {
        let Some(sync) = self.replica.sync_of(id) else { return };
        sync.loader.taken_in(bytes);
        if let Err(error) = result {
            return self.sync_failed(io, &error);
        }
        if sync.spool.is_some() && sync.summary.is_none() {
            self.sync_read(io);
        } else {
            self.sync_install(io);
            self.receive(io);
        }
    }

    /// The snapshot ends here: whether it is whole shows now.
    fn sync_finish(&mut self, io: &mut ShardIo) {
        let Some(sync) = &mut self.replica.sync else { return };
        match sync.loader.finish() {
            Ok(summary) => {
                sync.summary = Some(summary);
                self.sync_post(io);
                self.sync_install(io);
            }
            Err(error) => self.sync_failed(io, &error.to_string()),
        }
    }

    #[cold]
    fn sync_failed(&mut self, io: &mut ShardIo, error: &str) {
        let Some(sync) = &self.replica.sync else { return };
        let from = if sync.spool.is_some() { "disk" } else { "socket" };
        warn!("Failed trying to load the MASTER synchronization DB from {from}: {error}");
        self.tell_link(io, Event::Failed);
    }

    // Installing

    /// When everything is loaded, it takes the place of the data.
    fn sync_install(&mut self, io: &mut ShardIo) {
        let Some(sync) = &mut self.replica.sync else { return };
        if sync.stage != Stage::Loading || sync.summary.is_none() || !sync.loader.is_taken_in() {
            return;
        }
        sync.stage = Stage::Installing;
        let id = sync.id;
        let took_ms = clock::unix_ms().saturating_sub(sync.started_ms);
        let keys = sync.summary.unwrap_or_default().keys;
        info!("Done loading RDB, keys loaded: {keys}, in {:.3} seconds", took_ms as f64 / 1000.0);
        if sync.mode == Loading::Async {
            info!("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
        }
        self.cut(
            io,
            Box::new(move |shard, io| {
                shard.finish_loading(io, id);
                shard.set_link_up(true);
            }),
            Box::new(move |replication, io, _| replication.sync_installed(io, id)),
        );
    }

    /// The loaded data are the node's data.
    fn sync_installed(&mut self, io: &mut ShardIo, id: u64) {
        if self.replica.sync_of(id).is_none() {
            return;
        }
        let Some(sync) = self.replica.sync.take() else { return };
        let database = sync.summary.unwrap_or_default().stream_database;
        // A primary that knows no positions cannot be resumed from, and neither can we.
        let Position { id, offset } = sync.position.unwrap_or_else(|| Position { id: random_hex(), offset: 0 });
        self.tell_primary(io, PrimaryEvent::NewHistory { id, offset });
        self.replica.has_position = true;
        self.stream_begins(offset, database);
        self.tell_link(io, Event::Installed);
        self.apply_stream(io);
        self.receive(io);
    }

    /// Gives up a resynchronisation that is under way. What shards have loaded of it is dropped before any later cut.
    pub(super) fn sync_abort(&mut self, io: &mut ShardIo) {
        let Some(sync) = self.replica.sync.take() else { return };
        if sync.is_on_shards() {
            let id = sync.id;
            self.replica.aborting += 1;
            self.cut(
                io,
                Box::new(move |shard, _| {
                    shard.abort_loading(id);
                    shard.set_link_up(false);
                }),
                Box::new(|replication, io, _| {
                    replication.replica.aborting -= 1;
                    replication.link_may_have_ended(io);
                }),
            );
        }
    }
}

/// Loads a parcel on its shard, and answers it.
fn load(shard: &mut Shard, io: &mut ShardIo, id: u64, parcel: &Parcel) {
    let result = shard.load(id, parcel).map(drop).map_err(|error| error.to_string());
    let bytes = parcel.len();
    let answer = move |replication: &mut Replication, io: &mut ShardIo| {
        replication.on_parcel_loaded(io, id, bytes, result);
    };
    io.post(shard.shared.shards, Message::Control(Box::new(answer)));
}

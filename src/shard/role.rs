//! Whether this node is a primary or a replica, as one core knows it.
//!
//! The replication executor decides; all cores change at one moment (see [`cut`](super::cut)), so no command sees two roles.

use super::{Shard, ShardIo};
use crate::config::Config;
use crate::keyspace::ExpiryMode;
use crate::runtime::slice::{self, Work};

/// The role of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Primary,
    Replica {
        /// The link to the primary is up: the data is not stale.
        link_up: bool,
    },
}

impl Role {
    /// The role that a node starts with.
    pub fn of(config: &Config) -> Role {
        if config.replicaof.is_some() { Role::Replica { link_up: false } } else { Role::Primary }
    }

    pub fn is_replica(self) -> bool {
        matches!(self, Role::Replica { .. })
    }
}

/// Whether a snapshot is being loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loading {
    #[default]
    No,
    /// There is no data to be served meanwhile.
    Blocking,
    /// The old data is served meanwhile.
    Async,
}

impl Shard {
    pub fn role(&self) -> Role {
        self.role
    }

    /// The node becomes a replica. Whoever waits for keys here is told and closed.
    pub fn become_replica(&mut self, io: &mut ShardIo) {
        if !self.role.is_replica() {
            self.unblock_all(io);
        }
        self.turn_log(false);
        self.set_role(Role::Replica { link_up: false });
    }

    /// The node becomes a primary. `logs`: there is a backlog, and perhaps replicas, that go on from here.
    pub fn become_primary(&mut self, io: &mut ShardIo, logs: bool) {
        self.forget_applier(io);
        self.turn_log(logs);
        self.set_role(Role::Primary);
    }

    /// The link to the primary is up or down.
    pub fn set_link_up(&mut self, link_up: bool) {
        if self.role.is_replica() {
            self.set_role(Role::Replica { link_up });
        }
    }

    pub fn set_loading(&mut self, loading: Loading) {
        self.loading = loading;
        self.set_gates();
        // Whoever else runs on this processor, perhaps the very primary, goes first.
        let work = if loading == Loading::Blocking { Work::Plodding } else { Work::Serving };
        if let Err(error) = slice::set(work) {
            tracing::debug!("sched_setattr: {error}");
        }
    }

    pub(super) fn set_role(&mut self, role: Role) {
        self.role = role;
        self.rest_expiry_mode();
        self.set_gates();
        // A replica may have taken more than its own limit, which holds from now on.
        self.meet_limit();
    }

    /// What becomes of due keys while no command of a primary's stream runs: they stay where only the primary removes keys, and while clients are
    /// paused, when the data stands still: a key that went then would be a write behind what a failover waits for.
    pub(super) fn rest_expiry_mode(&mut self) {
        let stays = self.role.is_replica() || self.is_paused();
        self.keyspace.set_expiry_mode(if stays { ExpiryMode::Hidden } else { ExpiryMode::Own });
    }
}

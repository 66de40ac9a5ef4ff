//! What a node may refuse because of its role, the state of its data, or the replicas it has: READONLY, MASTERDOWN, LOADING and NOREPLICAS.
//!
//! Looked at only while one of them can come up (`Gates::guarded`). What the primary of a replica sends is never refused: it has happened already.
//! The order of the checks is Redis's.

use std::sync::atomic::Ordering;

use super::Shard;
use super::client::Client;
use super::role::{Loading, Role};
use crate::commands::lookup::CommandId;
use crate::commands::{Command, Error, Flags, Outcome};
use crate::config::Config;

const NO_REPLICAS: Error = Error::text("NOREPLICAS Not enough good replicas to write.");
const READ_ONLY: Error = Error::text("READONLY You can't write against a read only replica.");
const PRIMARY_DOWN: Error =
    Error::text("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
const LOADING: Error = Error::text("LOADING Redis is loading the dataset in memory");

/// Whether a primary takes writes only while it has enough replicas.
fn demands_replicas(config: &Config) -> bool {
    config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0
}

impl Shard {
    /// Whether any command may have to be refused.
    pub(super) fn is_guarded(&self) -> bool {
        self.role.is_replica() || self.loading != Loading::No || demands_replicas(&self.config)
    }

    /// Whether the node's state lets a command run, or be queued. EXEC stands for all that its block does.
    #[cold]
    pub(super) fn guard(&self, client: &Client, id: CommandId, command: &Command) -> Outcome {
        if client.modes.applies {
            return Ok(());
        }
        let block = client.multi.as_ref().filter(|_| id == self.exec_id);
        let writes = block.map_or(command.flags, |multi| multi.flags()).has(Flags::WRITE);
        let always_has = |flag: Flags| command.flags.has(flag) && !block.is_some_and(|multi| multi.lacks(flag));
        match self.role {
            Role::Primary if writes && !self.has_good_replicas() => return Err(NO_REPLICAS),
            Role::Replica { .. } if writes && self.config.replica_read_only => return Err(READ_ONLY),
            Role::Replica { link_up: false } if !self.config.replica_serve_stale_data && !always_has(Flags::STALE) => {
                return Err(PRIMARY_DOWN);
            }
            Role::Primary | Role::Replica { .. } => {}
        }
        match self.loading {
            Loading::Blocking if !always_has(Flags::LOADING) => Err(LOADING),
            Loading::Async if block.map_or(command.flags, |multi| multi.flags()).has(Flags::NO_ASYNC_LOADING) => {
                Err(LOADING)
            }
            Loading::No | Loading::Blocking | Loading::Async => Ok(()),
        }
    }

    fn has_good_replicas(&self) -> bool {
        let wanted = self.config.min_replicas_to_write as usize;
        !demands_replicas(&self.config) || self.shared.good_replicas.load(Ordering::Relaxed) >= wanted
    }
}

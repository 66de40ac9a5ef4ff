//! A connection asks to be a replica: PSYNC and SYNC.

use tracing::{info, warn};

use super::failover::Failover;
use super::link::{Link, Phase};
use super::snapshot::empty_rdb;
use super::{LinkId, Newcomer, Primary, Role};
use crate::node::random_hex;
use crate::replication::history::{NO_ID, Refusal};
use crate::types::numbers::parse_i64;

/// What a connection asks for.
enum Request {
    /// A snapshot.
    Sync,
    /// The stream from byte `offset` of history `id` on, or a snapshot.
    Psync { id: Vec<u8>, offset: i64 },
}

impl Primary {
    pub(super) fn join(&mut self, id: LinkId, newcomer: Newcomer, now_ms: u64) {
        let takeover = self.check_takeover(&newcomer);
        if let Some(Ok(())) = takeover {
            return self.take_over(id, newcomer);
        }
        let request = match takeover {
            Some(Err(error)) => Err(error.to_owned()),
            _ => self.read_request(&newcomer),
        };
        let old = matches!(request, Ok(Request::Sync));
        let mut link = Link::new(id, newcomer, old, now_ms);
        match request {
            Ok(request) => self.admit(&mut link, request, now_ms),
            Err(error) => {
                link.reply(&format!("-{error}\r\n"));
                link.phase = Phase::Leaving;
            }
        }
        self.links.insert(id, link);
        self.start_snapshot(now_ms);
        self.tell_good_replicas(now_ms);
    }

    fn read_request(&self, newcomer: &Newcomer) -> Result<Request, String> {
        let args = newcomer.request.args();
        if self.failover != Failover::None {
            return Err("NOMASTERLINK Can't SYNC while failing over".into());
        }
        match self.role {
            Role::Primary | Role::Replica { up: true } => {}
            Role::Leaving { .. } | Role::Replica { up: false } => {
                return Err("NOMASTERLINK Can't SYNC while not connected with my master".into());
            }
        }
        if newcomer.hello.filtered && !newcomer.hello.eof {
            return Err("ERR Filtered replica requires EOF capability".into());
        }
        if args.is(0, "sync") {
            return Ok(Request::Sync);
        }
        let (Some(id), Some(offset)) = (args.opt(1), args.opt(2)) else {
            return Err("ERR wrong number of arguments for 'psync' command".into());
        };
        match parse_i64(offset) {
            Some(offset) => Ok(Request::Psync { id: id.to_vec(), offset }),
            None => Err("ERR value is not an integer or out of range".into()),
        }
    }

    fn admit(&mut self, link: &mut Link, request: Request, now_ms: u64) {
        info!("Replica {} asks for synchronization", link.display());
        if let Request::Psync { id, offset } = &request {
            match self.stream.can_continue(id, *offset) {
                Ok(position) => return self.go_on(link, position),
                Err(refusal) => {
                    self.log_refusal(link, id, *offset, &refusal);
                    self.counters.sync_partial_err += u64::from(refusal != Refusal::Asked);
                }
            }
        }
        self.counters.sync_full += 1;
        if link.newcomer.hello.filtered {
            self.send_empty(link);
        } else {
            link.phase = Phase::Waiting { since_ms: now_ms };
        }
    }

    /// Lets a replica go on from where it is.
    fn go_on(&mut self, link: &mut Link, position: u64) {
        link.phase = Phase::Online;
        link.position = Some(position);
        if link.newcomer.hello.psync2 {
            link.reply(&format!("+CONTINUE {}\r\n", self.stream.history().id()));
        } else {
            link.reply("+CONTINUE\r\n");
        }
        self.counters.sync_partial_ok += 1;
        info!(
            "Partial resynchronization request from {} accepted. Sending {} bytes of backlog starting from offset {}.",
            link.display(),
            self.stream.offset() - position,
            position + 1
        );
    }

    /// A replica that wants no data (functions, which this node does not have) needs no snapshot for that.
    fn send_empty(&mut self, link: &mut Link) {
        let offset = self.stream.offset();
        let id = self.stream.history().id();
        let mark = random_hex();
        if !link.old {
            link.reply(&format!("+FULLRESYNC {id} {offset}\r\n"));
        }
        link.reply(&format!("$EOF:{mark}\r\n"));
        link.reply_bytes(&empty_rdb(&self.moment, id, offset));
        link.reply(&mark);
        if link.newcomer.hello.rdb_only || self.stream.backlog().is_none() {
            link.phase = Phase::Leaving;
        } else {
            link.position = Some(offset);
            link.phase = Phase::Loading;
            self.stream.select_again();
        }
    }

    fn log_refusal(&self, link: &Link, id: &[u8], asked: i64, refusal: &Refusal) {
        let name = link.display();
        match refusal {
            Refusal::Asked => info!("Full resync requested by replica {name}"),
            Refusal::OtherId => {
                let history = self.stream.history();
                info!(
                    "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', my replication IDs are '{}' and '{}')",
                    String::from_utf8_lossy(&id[..id.len().min(64)]),
                    history.id(),
                    history.second().map_or(NO_ID, |(id, _)| id)
                );
            }
            Refusal::BeyondSecond { valid_to } => info!(
                "Partial resynchronization not accepted: Requested offset for second ID was {asked}, but I can reply up to {valid_to}"
            ),
            Refusal::Backlog { ahead } => {
                info!(
                    "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {asked})."
                );
                if *ahead {
                    warn!(
                        "Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."
                    );
                }
            }
        }
    }
}

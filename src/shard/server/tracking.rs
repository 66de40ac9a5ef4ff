//! CLIENT TRACKING: a client says what it wants to be told of.
//!
//! That a client reads is known to its own core and goes along with each command. Prefixes are known to all cores, and a redirection may
//! lead to any: then the answer comes when every core knows.

use std::rc::Rc;

use crate::commands::clients::{NO_SUCH_REDIRECT, TrackingRequest, TrackingWanted};
use crate::commands::lookup::CommandId;
use crate::commands::{Error, Outcome};
use crate::resp::{Args, Out, Writer};
use crate::shard::client::Client;
use crate::shard::fanout::Call;
use crate::shard::{Shard, ShardIo};
use crate::tracking::{Mode, Redirect, Tracker};

impl Shard {
    pub(super) fn client_tracking(&mut self, io: &mut ShardIo, client: &mut Client, id: CommandId, args: &Args<'_>) {
        let request = TrackingRequest::parse(args);
        let broadcasts = matches!(&request.wanted, Ok(TrackingWanted::On(options)) if options.is_broadcast());
        if self.shared.shards > 1 && (broadcasts || request.redirect.is_some()) {
            return self.start_call(client, id, args, tracking);
        }
        self.answer(client, id, args, |shard, client, out| {
            let redirect = match request.redirect {
                // The client at work is not among the connections.
                Some(id) if id == client.id as i64 => Some(shard.redirect(client.id, client)),
                Some(id) => Some(shard.redirect_here(id).ok_or(NO_SUCH_REDIRECT)?),
                None => None,
            };
            shard.set_tracking(io, client, request.wanted, redirect)?;
            Writer::new(out, client.proto).ok();
            Ok(())
        });
    }

    fn redirect(&self, id: u64, client: &Client) -> Redirect {
        Redirect { id, target: Some(Tracker { core: self.id, socket: client.socket }) }
    }

    /// The redirection to a client of this core.
    fn redirect_here(&self, id: i64) -> Option<Redirect> {
        let id = u64::try_from(id).ok()?;
        let connection = self.clients().find(|connection| connection.client.id == id)?;
        Some(self.redirect(id, &connection.client))
    }

    fn set_tracking(
        &mut self,
        io: &mut ShardIo,
        client: &mut Client,
        wanted: Result<TrackingWanted, Error>,
        redirect: Option<Redirect>,
    ) -> Outcome {
        let options = match wanted? {
            TrackingWanted::On(options) => options,
            TrackingWanted::Off => {
                self.stop_tracking(io, client);
                return Ok(());
            }
        };
        let mut settings = options.apply(client.tracking.as_deref())?;
        settings.redirect = redirect;
        if client.tracking.is_none() {
            self.caching.clients += 1;
        }
        if settings.mode == Mode::Broadcast {
            let tracker = Tracker { core: self.id, socket: client.socket };
            let (prefixes, noloop) = (settings.prefixes.clone(), settings.noloop);
            let listen = move |shard: &mut Shard, _: &mut ShardIo| {
                prefixes.iter().for_each(|prefix| shard.caching.prefixes.add(prefix, tracker, noloop));
                shard.set_gates();
            };
            listen(self, io);
            self.tell_others(io, listen);
        }
        client.tracks = settings.remembers();
        client.tracking = Some(Box::new(settings));
        self.set_gates();
        Ok(())
    }

    /// Switches a client's tracking off. What is remembered of its reads stays, as in Redis, until the keys change: nobody is told then,
    /// unless the client tracks again.
    pub(in crate::shard) fn stop_tracking(&mut self, io: &mut ShardIo, client: &mut Client) {
        let Some(settings) = client.tracking.take() else { return };
        client.tracks = false;
        self.caching.clients -= 1;
        if settings.mode == Mode::Broadcast {
            let tracker = Tracker { core: self.id, socket: client.socket };
            let leave = move |shard: &mut Shard, _: &mut ShardIo| {
                settings.prefixes.iter().for_each(|prefix| shard.caching.prefixes.remove(prefix, tracker));
                shard.set_gates();
            };
            leave(self, io);
            self.tell_others(io, leave);
        }
        self.set_gates();
    }
}

async fn tracking(call: Rc<Call>) -> Result<Out, Error> {
    let TrackingRequest { redirect, wanted } = TrackingRequest::parse(&call.args());
    let redirect = match redirect {
        None => None,
        Some(id) => {
            let found = call.on_all(move |shard, _| shard.redirect_here(id)).await;
            Some(found.into_iter().flatten().next().ok_or(NO_SUCH_REDIRECT)?)
        }
    };
    let set = call.here(|shard, io| {
        let socket = call.socket;
        shard.with_connection(socket, |shard, connection| {
            shard.set_tracking(io, &mut connection.client, wanted, redirect)
        })
    });
    // A client that is gone gets no answer either.
    set.unwrap_or(Ok(()))?;
    // What the other cores were told, they have heard when they answer.
    call.on_all(|_, _| ()).await;
    call.ok()
}

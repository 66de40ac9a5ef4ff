//! What a lock table is to do, said as plainly as possible: the requests in order of arrival, each looked at against all before it.

use super::{Claims, Mode, Ticket};

pub struct Model {
    requests: Vec<Known>,
}

struct Known {
    ticket: Ticket,
    claims: Claims,
    granted: bool,
}

/// Whether two requests may not hold their locks at the same time.
pub fn conflict(a: &Claims, b: &Claims) -> bool {
    let writes = |claims: &Claims| {
        claims.whole == Some(Mode::Exclusive) || claims.keys.iter().any(|(_, mode)| *mode == Mode::Exclusive)
    };
    let over_shard = |a: &Claims, b: &Claims| match a.whole {
        Some(Mode::Exclusive) => true,
        Some(Mode::Shared) => writes(b),
        None => false,
    };
    let over_keys = a.keys.iter().any(|(key, mode)| {
        b.keys.iter().any(|(other, theirs)| key == other && (*mode == Mode::Exclusive || *theirs == Mode::Exclusive))
    });
    over_shard(a, b) || over_shard(b, a) || over_keys
}

impl Model {
    pub fn new() -> Model {
        Model { requests: Vec::new() }
    }

    /// Whether a newcomer would have to wait.
    pub fn would_wait(&self, claims: &Claims) -> bool {
        self.requests.iter().any(|known| conflict(claims, &known.claims))
    }

    /// A request came in; whether it is granted at once.
    pub fn enter(&mut self, ticket: Ticket, claims: &Claims) -> bool {
        assert!(self.requests.iter().all(|known| known.ticket != ticket), "each ticket names one request");
        let granted = !self.would_wait(claims);
        self.requests.push(Known { ticket, claims: claims.clone(), granted });
        granted
    }

    /// A request left; who is to be granted for it, in order.
    pub fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let at = self.requests.iter().position(|known| known.ticket == ticket).expect("a request leaves once");
        self.requests.remove(at);
        let mut granted = Vec::new();
        for at in 0..self.requests.len() {
            let (earlier, rest) = self.requests.split_at_mut(at);
            let request = &mut rest[0];
            if !request.granted && !earlier.iter().any(|other| conflict(&request.claims, &other.claims)) {
                request.granted = true;
                granted.push(request.ticket);
            }
        }
        granted
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn waiting(&self) -> usize {
        self.requests.iter().filter(|known| !known.granted).count()
    }
}

//! Which clients CLIENT LIST shows and CLIENT KILL closes.

use super::{ClientInfo, ClientType, parse_word};
use crate::commands::Error;
use crate::commands::error::c_string;
use crate::resp::{Args, Writer};
use crate::types::numbers::parse_i64;

/// What CLIENT LIST asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListRequest {
    All,
    Type(ClientType),
    /// In this order, each as often as it is named.
    Ids(Vec<i64>),
}

impl ListRequest {
    /// From the arguments of CLIENT LIST.
    pub fn parse(args: &Args<'_>) -> Result<ListRequest, Error> {
        if args.len() == 2 {
            return Ok(ListRequest::All);
        }
        if args.len() == 4 && args.is(2, "type") {
            return ClientType::parse(args.get(3)).map(ListRequest::Type);
        }
        if args.len() > 3 && args.is(2, "id") {
            let ids = args.iter_from(3).map(|id| parse_i64(id).ok_or(Error::text("ERR Invalid client ID")));
            return ids.collect::<Result<_, _>>().map(ListRequest::Ids);
        }
        Err(Error::Syntax)
    }

    /// The text of the reply, from the clients of all cores; oldest connection first.
    pub fn render(&self, mut clients: Vec<ClientInfo>) -> String {
        clients.sort_by_key(|client| client.id);
        let mut text = String::new();
        match self {
            ListRequest::All => clients.iter().for_each(|client| client.write_line(&mut text)),
            ListRequest::Type(wanted) => {
                let matching = clients.iter().filter(|client| client.flags.client_type() == *wanted);
                matching.for_each(|client| client.write_line(&mut text));
            }
            ListRequest::Ids(ids) => {
                for id in ids {
                    if let Ok(index) = clients.binary_search_by_key(id, |client| client.id as i64) {
                        clients[index].write_line(&mut text);
                    }
                }
            }
        }
        text
    }
}

/// How CLIENT KILL was written, which decides its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillForm {
    /// `CLIENT KILL addr`.
    Old,
    /// `CLIENT KILL option value ...`.
    New,
}

/// Which clients CLIENT KILL closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillRequest {
    pub form: KillForm,
    id: Option<u64>,
    addr: Option<Vec<u8>>,
    laddr: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    client_type: Option<ClientType>,
    max_age: Option<u64>,
    skip_me: bool,
}

impl KillRequest {
    /// From the arguments of CLIENT KILL. `user_exists` tells whether there is a user of that name.
    pub fn parse(args: &Args<'_>, user_exists: impl Fn(&[u8]) -> bool) -> Result<KillRequest, Error> {
        let mut request = KillRequest {
            form: KillForm::New,
            id: None,
            addr: None,
            laddr: None,
            user: None,
            client_type: None,
            max_age: None,
            skip_me: true,
        };
        if args.len() < 3 {
            return Err(Error::Syntax);
        }
        if args.len() == 3 {
            // The old form may close the client that asks.
            return Ok(KillRequest {
                form: KillForm::Old,
                addr: Some(args.get(2).to_vec()),
                skip_me: false,
                ..request
            });
        }
        for i in (2..args.len()).step_by(2) {
            let value = args.opt(i + 1).ok_or(Error::Syntax)?;
            request.option(args, i, value, &user_exists)?;
        }
        Ok(request)
    }

    fn option(
        &mut self,
        args: &Args<'_>,
        i: usize,
        value: &[u8],
        user_exists: &impl Fn(&[u8]) -> bool,
    ) -> Result<(), Error> {
        if args.is(i, "id") {
            let id = parse_i64(value).filter(|id| *id > 0);
            self.id = Some(id.ok_or(Error::text("ERR client-id should be greater than 0"))? as u64);
        } else if args.is(i, "type") {
            self.client_type = Some(ClientType::parse(value)?);
        } else if args.is(i, "addr") {
            self.addr = Some(value.to_vec());
        } else if args.is(i, "laddr") {
            self.laddr = Some(value.to_vec());
        } else if args.is(i, "user") {
            if !user_exists(value) {
                return Err(Error::concat(&[b"ERR No such user '", c_string(value), b"'"]));
            }
            self.user = Some(value.to_vec());
        } else if args.is(i, "maxage") {
            let age = parse_i64(value).ok_or(Error::text("ERR maxage is not an integer or out of range"))?;
            if age <= 0 {
                return Err(Error::text("ERR maxage should be greater than 0"));
            }
            self.max_age = Some(age as u64);
        } else if args.is(i, "skipme") {
            self.skip_me = parse_word(value, "yes", "no")?;
        } else {
            return Err(Error::Syntax);
        }
        Ok(())
    }

    /// Whether to close `client`; `me` is the ID of the client that asks.
    pub fn matches(&self, client: &ClientInfo, me: u64) -> bool {
        let is =
            |wanted: &Option<Vec<u8>>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value.as_bytes());
        is(&self.addr, &client.addr)
            && is(&self.laddr, &client.laddr)
            && self.user.as_ref().is_none_or(|user| client.user.as_ref().is_some_and(|name| name.as_bytes() == user))
            && self.id.is_none_or(|id| id == client.id)
            && self.client_type.is_none_or(|wanted| wanted == client.flags.client_type())
            && self.max_age.is_none_or(|age| client.age >= age)
            && !(self.skip_me && client.id == me)
    }

    /// The reply, with how many clients were closed.
    pub fn write_reply(&self, out: &mut Writer<'_>, killed: u64) {
        match (self.form, killed) {
            (KillForm::Old, 0) => out.error("ERR No such client"),
            (KillForm::Old, _) => out.ok(),
            (KillForm::New, _) => out.int(killed as i64),
        }
    }
}

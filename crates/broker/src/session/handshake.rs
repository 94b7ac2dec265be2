//! From the protocol header to connection.open: who is it, and where may it go?
//!
//! Invariant: a refused login says the same whatever the reason; the reason is in the log.

use std::sync::Arc;

use warrenmq_protocol::{Event, Exception, Fault, StartOk};
use warrenmq_wire::reply::ReplyCode;

use super::channel::Channel;
use super::{Home, Session};
use crate::access::{Grants, Mechanism, User, vhost_refused};
use crate::refusal::{not_allowed, refused};

/// How far the login is.
#[derive(Debug, Default)]
pub(super) struct Login {
    mechanism: Option<Mechanism>,
    user: Option<Arc<User>>,
}

impl Session {
    pub(super) fn handshake(&mut self, event: Event<'_>) {
        let done = match event {
            Event::Hello => {
                let properties = self.broker.server_properties();
                let mechanisms = Mechanism::ALL.map(Mechanism::name).join(" ");
                self.connection.send_start(properties, &mechanisms, self.out.buffer());
                Ok(())
            }
            Event::BadHeader => {
                tracing::info!(connection = self.id, peer = %self.peer, "not AMQP 0-9-1: closed");
                self.connection.refuse_header(self.out.buffer());
                Ok(())
            }
            Event::StartOk(start_ok) => self.start_ok(&start_ok),
            Event::SecureOk(response) => self.authenticate(&response),
            Event::Open(vhost) => self.open(&vhost),
            Event::UpdateSecret(_) => {
                // Passwords do not expire; tokens come with the mechanisms that have them.
                self.connection.update_secret_ok(self.out.buffer());
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(exception) = done {
            self.fail(&Fault::Connection(exception));
        }
    }

    fn start_ok(&mut self, start_ok: &StartOk) -> Result<(), Exception> {
        /// connection.start-ok, which is what fails.
        const START_OK: (u16, u16) = (10, 11);
        let Some(mechanism) = Mechanism::from_name(&start_ok.mechanism) else {
            let text = format!("unknown authentication mechanism '{}'", start_ok.mechanism);
            return Err(Exception::new(ReplyCode::CommandInvalid, text).at(START_OK.0, START_OK.1));
        };
        self.login.mechanism = Some(mechanism);
        self.authenticate(&start_ok.response)
    }

    fn authenticate(&mut self, response: &[u8]) -> Result<(), Exception> {
        let Some(mechanism) = self.login.mechanism else { return Err(super::unimplemented()) };
        let credentials = mechanism
            .read(response)
            .map_err(|error| Exception::new(ReplyCode::SyntaxError, error.to_string()))?;
        match self.broker.log_in(&credentials, self.peer.ip()) {
            Ok(user) => {
                self.login.user = Some(user);
                self.connection.send_tune(self.out.buffer());
                Ok(())
            }
            Err(reason) => {
                let name = mechanism.name();
                tracing::warn!(connection = self.id, peer = %self.peer, "{name} login refused: {reason}");
                Err(refused(format!(
                    "Login was refused using authentication mechanism {name}. For details see the broker logfile."
                )))
            }
        }
    }

    fn open(&mut self, name: &str) -> Result<(), Exception> {
        /// connection.open, which is what fails.
        const OPEN: (u16, u16) = (10, 40);
        let Some(user) = self.login.user.clone() else { return Err(super::unimplemented()) };
        let refuse = |text: String| Err(not_allowed(text).at(OPEN.0, OPEN.1));
        let max = self.limits().connection_max;
        if self.broker.connection_count() > max as usize {
            return refuse(format!("connection refused: node connection limit ({max}) is reached"));
        }
        let Some(vhost) = self.broker.vhost(name) else { return refuse(format!("vhost {name} not found")) };
        let in_vhost = match vhost.enter() {
            Ok(place) => place,
            Err(limit) => {
                let refused = vhost_refused(name, &user.name);
                return refuse(format!("{refused}: connection limit ({limit}) is reached"));
            }
        };
        let (of_user, load) = match self.broker.directory().enter(&user.name) {
            Ok(entered) => entered,
            Err(limit) => {
                let name = &user.name;
                let text = format!(
                    "connection refused for user '{name}': user connection limit ({limit}) is reached"
                );
                return refuse(text);
            }
        };
        let permissions = self.broker.permissions(&user.name, name);
        if permissions.is_none() {
            return refuse(vhost_refused(name, &user.name));
        }
        tracing::info!(connection = self.id, peer = %self.peer, user = user.name, vhost = name, "connection opened");
        // In this order: a change in between is seen twice, not missed.
        let generation = vhost.generation();
        let picture = vhost.picture();
        let grants = Grants::default();
        let (publisher, chance) = (None, None);
        let places = Some((in_vhost, of_user));
        self.home = Some(Box::new(Home {
            vhost,
            user,
            permissions,
            grants,
            picture,
            generation,
            publisher,
            chance,
            places,
            load,
        }));
        self.connection.open_ok(self.out.buffer());
        Ok(())
    }

    pub(super) fn open_channel(&mut self, number: u16) {
        let Some(home) = &self.home else { return };
        let name = &home.user.name;
        match self.broker.directory().enter_channel(name, &home.load) {
            Ok(place) => {
                self.channels.insert(Channel::new(number, place));
                self.connection.channel_open_ok(number, self.out.buffer());
            }
            Err(limit) => {
                let text = format!(
                    "number of channels opened for user '{name}' has reached the maximum allowed user limit of {limit}"
                );
                self.fail(&Fault::Connection(not_allowed(text)));
            }
        }
    }
}

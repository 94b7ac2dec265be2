//! What a hostile or broken client may send gets an answer or a clean close, costs bounded memory, and ends neither the process
//! nor anybody else's connection. After everything here the broker is alive and serves a new client.

mod contents;
mod crowds;
mod handshake;
mod hoards;
mod mutations;
mod rules;
mod silence;
mod unread;

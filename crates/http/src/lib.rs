//! Requests to servers that people name: webhooks, dead man's switches, collectors of spans, what playbooks call.
//!
//! A [`Client`] verifies TLS, follows no redirect and bounds what it reads. URLs, tokens and headers may be secrets: they
//! come from files, which are read anew each time, and are in no error.

mod client;
mod error;
mod files;
mod resolver;
mod webhook;

pub use client::{Answer, Bounds, Client};
pub use error::Error;
pub use files::{headers, secret, token, url};
pub use resolver::Addresses;
pub use webhook::{Webhook, slack_text};

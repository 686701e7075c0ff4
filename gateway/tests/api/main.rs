//! The API from outside: real nodes, real gateways, a chapter a resource. One program, because every further one would
//! be linked with a whole node.

#[path = "../support/mod.rs"]
mod support;

mod actions;
mod audit_export;
mod bad_input;
mod batch;
mod credentials;
mod credits;
mod devices;
mod heads;
mod invoices;
mod keys;
mod log;
mod openapi;
mod payments;
mod proved;
mod rates;
mod receipts;
mod registry;
mod reports;
mod seal;
mod shifts;
mod signing_mode;
mod tax;
mod tenants;
mod verify;
mod webhooks;

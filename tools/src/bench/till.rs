//! How a sale reaches the cluster: over gRPC as gateways do, over REST as tills do, or through a fiscal device.

mod device;
mod grpc;
mod rest;

use anyhow::Result;
use fiscus_ledger::seal::AuthCode;
use fiscus_proto::client::ClusterClient;

use super::outlets::Roster;
use super::workload::{Sale, Workload};
use device::DeviceTill;
use grpc::GrpcTill;
use rest::{Gateway, RestTill};

pub(super) use grpc::sealed as record_seal;

/// What an answer says of a sale that was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The last part of its fiscal number.
    pub(super) sequence: u64,
    pub(super) auth_code: AuthCode,
}

/// What became of one attempt.
#[derive(Debug)]
pub(super) enum Answered {
    Sealed(Sealed),
    /// The rules say no, and will say so again.
    Refused(String),
    /// It may have happened, or surely has not: the same key asks again.
    Unclear(String),
}

/// Makes tills of one kind.
#[derive(Debug)]
pub(super) enum Tills {
    Grpc(ClusterClient),
    Rest(Gateway),
    Device(String),
}

impl Tills {
    pub(super) fn grpc(client: ClusterClient) -> Self {
        Self::Grpc(client)
    }

    pub(super) fn rest(url: &str, key: &str) -> Result<Self> {
        Ok(Self::Rest(Gateway::new(url, key)?))
    }

    pub(super) fn device(address: String) -> Self {
        Self::Device(address)
    }

    /// A till; it connects when it first sells.
    pub(super) fn open(&self) -> Till {
        match self {
            Self::Grpc(client) => Till::Grpc(GrpcTill::new(client.clone())),
            Self::Rest(gateway) => Till::Rest(RestTill::new(gateway.clone())),
            Self::Device(address) => Till::Device(DeviceTill::new(address.clone())),
        }
    }

    /// Makes the outlets over REST, with all that receipts need.
    pub(super) async fn open_outlets(&self, roster: &Roster) -> Result<()> {
        match self {
            Self::Rest(gateway) => gateway.open_outlets(roster).await,
            Self::Grpc(_) | Self::Device(_) => Ok(()),
        }
    }
}

/// One point of sale.
#[derive(Debug)]
pub(super) enum Till {
    Grpc(GrpcTill),
    Rest(RestTill),
    Device(DeviceTill),
}

impl Till {
    /// Sends sales once; an answer for each, in their order.
    pub(super) async fn sell(&mut self, workload: &Workload, sales: &[Sale]) -> Vec<Answered> {
        match self {
            Self::Grpc(till) => till.sell(workload, sales).await,
            Self::Rest(till) => till.sell(workload, sales).await,
            Self::Device(till) => till.sell(workload, sales).await,
        }
    }
}

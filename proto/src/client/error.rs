//! What can go wrong between a client and the cluster. Codes are stable.

use std::time::Duration;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody to ask.
    #[error("no seed is configured; name at least one node as host:port")]
    NoSeeds,
    /// An address is none.
    #[error("{address:?} is not an address; write host:port")]
    Address {
        /// The address.
        address: String,
    },
    /// Without TLS, only this machine is talked to.
    #[error("{address} is not this machine, and without TLS no other is talked to; configure TLS")]
    Plain {
        /// The address.
        address: String,
    },
    /// The certificates or the key cannot be used.
    #[error("the TLS files cannot be used with {address}: {source}; check the three PEM files")]
    Tls {
        /// The address.
        address: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// No seed told the topology.
    #[error("no seed answers: {detail}; check the addresses and that a node runs")]
    Unreachable {
        /// What each was asked and said.
        detail: String,
    },
}

impl ClientError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSeeds => "CLIENT_NO_SEEDS",
            Self::Address { .. } => "CLIENT_ADDRESS_INVALID",
            Self::Plain { .. } => "CLIENT_TLS_REQUIRED",
            Self::Tls { .. } => "CLIENT_TLS_INVALID",
            Self::Unreachable { .. } => "CLIENT_NO_NODE_ANSWERS",
        }
    }
}

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nobody knows whether it happened.
    #[error("it is unknown whether the command was taken: {detail}; ask again with the same key")]
    Unknown {
        /// What was seen.
        detail: String,
    },
    /// It was surely not taken.
    #[error("the command was not taken: {detail}; submit it again")]
    Unavailable {
        /// What was seen.
        detail: String,
    },
    /// It was surely not taken, because the leader has too much to do or is not fit.
    #[error("the command was not taken ({code}): {detail}; submit it again in {retry_after:?}")]
    Busy {
        /// How long to wait.
        retry_after: Duration,
        /// The node's reason, stable.
        code: String,
        /// The node's words.
        detail: String,
    },
    /// It was surely not taken, because it cannot be read.
    #[error("the command cannot be read: {detail}; correct it")]
    Malformed {
        /// The node's words.
        detail: String,
    },
}

impl SubmitError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "OUTCOME_UNKNOWN",
            Self::Unavailable { .. } => "CLUSTER_UNAVAILABLE",
            Self::Busy { .. } => "CLUSTER_BUSY",
            Self::Malformed { .. } => "COMMAND_MALFORMED",
        }
    }
}

/// What a call ended with, in words for people: what the node said, or else what its code means, and what is behind it.
pub(super) fn words_of(status: &tonic::Status) -> String {
    let mut words = match status.message() {
        "" => status.code().description().to_owned(),
        said => said.to_owned(),
    };
    let mut behind = std::error::Error::source(status);
    while let Some(error) = behind {
        let said = error.to_string();
        if !words.ends_with(&said) {
            words = format!("{words}: {said}");
        }
        behind = error.source();
    }
    words
}

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No node answered in time.
    #[error("no node answered the read: {detail}; try again")]
    Unavailable {
        /// What was seen last.
        detail: String,
    },
    /// A node says that no node would answer this.
    #[error("the read was refused ({status:?}): {detail}; correct the request")]
    Rejected {
        /// The gRPC status.
        status: tonic::Code,
        /// The node's words.
        detail: String,
    },
}

impl ReadError {
    /// Whether what was asked for is not there, on no node.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Rejected { status: tonic::Code::NotFound, .. })
    }

    /// Whether what was asked for can never be answered, by whatever node: the request is wrong.
    #[must_use]
    pub fn is_of_request(&self) -> bool {
        matches!(
            self,
            Self::Rejected { status: tonic::Code::InvalidArgument | tonic::Code::OutOfRange, .. }
        )
    }

    /// Whether what was asked for is beyond what there is, on every node.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        matches!(self, Self::Rejected { status: tonic::Code::OutOfRange, .. })
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "CLUSTER_UNAVAILABLE",
            Self::Rejected { .. } => "READ_REJECTED",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn what_a_call_ended_with_is_told_in_words() {
        let silent = tonic::Status::unavailable("");
        assert_eq!(words_of(&silent), "The service is currently unavailable");
        let refused = tonic::Status::from_error(Box::new(Error::other("refused")));
        assert_eq!(words_of(&refused), "refused");
        let mut cut = tonic::Status::unavailable("transport error");
        cut.set_source(std::sync::Arc::new(Error::other("connection reset")));
        assert_eq!(words_of(&cut), "transport error: connection reset");
    }
}

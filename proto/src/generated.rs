//! What the build script made of the message files, in modules that follow their packages.

#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes_without_reason,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

pub(crate) mod fiscus {
    pub mod admin {
        pub mod v1 {
            tonic::include_proto!("fiscus.admin.v1");
        }
    }
    pub mod command {
        pub mod v1 {
            tonic::include_proto!("fiscus.command.v1");
        }
    }
    pub mod ledger {
        pub mod v1 {
            tonic::include_proto!("fiscus.ledger.v1");
        }
    }
    pub mod peer {
        pub mod v1 {
            tonic::include_proto!("fiscus.peer.v1");
        }
    }
    pub mod stored {
        pub mod v1 {
            tonic::include_proto!("fiscus.stored.v1");
        }
    }
}

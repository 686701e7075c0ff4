//! A replica against the disk that forgets, tears and corrupts, with entries that a cluster would have.

mod blocks;
mod crash;
mod damage;
mod find;
mod golden;
mod harm;
mod install;
pub(super) mod life;
pub(super) mod picture;
mod space;
mod versions;

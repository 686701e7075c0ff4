//! Z, X and A reports and audit chunks: state and records, folded and spelled out.
//!
//! A Z is a journal record, so its text is canonical and comes from the counters. The fold comes to the
//! same figures from the records alone, which is how anyone checks the counters.

mod articles;
mod audit;
mod fold;
mod totals;
mod x;
mod z;

pub use articles::{ArticleLine, ArticleRange, ArticleReport, article_lines};
pub use audit::{
    AUDIT_CHUNK_RECORDS_MAX, AuditChunk, AuditChunkFull, AuditChunkWriter, audit_line,
};
pub use fold::{Fold, FoldError, ZFigures, invoice_of};
pub use totals::{digest_of, report_digest};
pub use x::{XContext, XScope, shift_close, x_report};
pub use z::{ZContext, z_report};

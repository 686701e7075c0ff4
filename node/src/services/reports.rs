//! Reports that change nothing: X, computed of what the group holds now, and A, streamed from its records.
//!
//! Invariant: the node signs only the digest of what it has computed itself, with the key of the authority
//! that is active for the outlet.

use std::sync::Weak;

use fiscus_ledger::facts::DeviceState;
use fiscus_ledger::hash::Hash32;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::record::Record;
use fiscus_ledger::reference::{Subject, leading_text};
use fiscus_ledger::reports::{
    ArticleRange, ArticleReport, XContext, XScope, article_lines, digest_of, x_report,
};
use fiscus_ledger::state::Id;
use fiscus_ledger::state::block::Block;
use fiscus_ledger::state::group::Group;
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::rows::{Device, OpenShift, Terminal};
use fiscus_ledger::time::UnixMs;
use fiscus_proto::ledger as wire;
use fiscus_proto::ledger::report_part::Part;
use fiscus_proto::ledger::x_report_request::Scope;
use fiscus_raft::store::{Reading, StoreError};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::ledger::{LedgerService, as_of, failed};
use super::still_open;
use crate::context::NodeContext;
use crate::groups::Hosted;
use crate::signer::Signable;

/// Devices of an outlet that a report lists.
const DEVICES_MAX: usize = 1_000;
/// Blocks whose waiting seals are counted: the last ones that were lent.
const BLOCKS_MAX: usize = 256;
/// Parts of a report that wait for the network.
const PARTS_MAX: usize = 256;
/// Records of a report that are read at once, and their bytes, though one is read whatever its length.
const PAGE: usize = 64;
/// Records that are looked at for the first and for the last invoice of a report.
const EDGE_RECORDS_MAX: u64 = 16_384;
const PAGE_BYTES: usize = 4 << 20;

type Sender = mpsc::Sender<Result<wire::ReportPart, Status>>;

/// Signs a digest with the key of an authority.
fn signed(context: &NodeContext, authority_id: &str, digest: Hash32) -> Result<[u8; 64], Status> {
    let key = context.authority_key(authority_id).ok_or_else(|| {
        Status::unavailable(format!("the key of authority {authority_id} is not on this node"))
    })?;
    let signature = context.signer.sign(&key, &Signable::ReportHash(digest));
    signature.map_err(|error| Status::unavailable(error.to_string()))
}

/// The outlet, and the authority that signs for it now.
fn outlet_and_authority(reading: &Reading, outlet_id: &str) -> Result<(Outlet, Group, Id), Status> {
    let group = reading.group().map_err(|error| failed(&error))?;
    let outlet = reading.outlet(outlet_id).map_err(|error| failed(&error))?;
    let outlet =
        outlet.ok_or_else(|| Status::not_found(format!("outlet {outlet_id} is not here")))?;
    let authority = group.active_authority(outlet.fact.environment).map(|known| known.id.clone());
    let authority = authority
        .ok_or_else(|| Status::failed_precondition("no authority is active for this outlet"))?;
    Ok((outlet, group, authority))
}

impl LedgerService {
    pub(super) async fn x_of(
        &self,
        request: wire::XReportRequest,
    ) -> Result<wire::SignedReport, Status> {
        let (group, consistency) = (request.group, request.consistency);
        self.search(group, consistency, move |service, _, reading| service.x(reading, &request))
            .await
    }

    fn x(
        &self,
        reading: &Reading,
        request: &wire::XReportRequest,
    ) -> Result<wire::SignedReport, Status> {
        let (outlet, group, authority) = outlet_and_authority(reading, &request.outlet_id)?;
        let manifest = group
            .manifest_at(group.time)
            .ok_or_else(|| Status::failed_precondition("no tax manifest is in force"))?;
        let shift = shift_of(reading, request)?;
        let devices = devices(reading, &request.outlet_id).map_err(|error| failed(&error))?;
        let devices: Vec<_> =
            devices.iter().map(|(id, state)| (id.clone(), state.as_str())).collect();
        let waiting = waiting(reading, &outlet).map_err(|error| failed(&error))?;
        let json = x_report(
            &outlet,
            &XContext {
                authority_id: &authority,
                generated_at: group.time,
                manifest,
                scope: match &shift {
                    None => XScope::Outlet,
                    Some((terminal_id, shift)) => XScope::Shift { terminal_id, shift },
                },
                devices: &devices,
                uploads_queued: waiting,
                warnings: &self.warnings(),
            },
        );
        let digest = digest_of(&json)
            .ok_or_else(|| Status::internal("the report does not carry its own digest"))?;
        let signature = signed(&self.context, &authority, digest)?;
        Ok(wire::SignedReport {
            as_of: Some(as_of(reading.as_of())),
            json,
            authority_id: authority.to_string(),
            digest: digest.to_vec().into(),
            signature: signature.to_vec().into(),
        })
    }

    /// What is wrong with the node that answers.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.context.disk_full() {
            warnings.push("the disk of the node that answers is full".to_owned());
        }
        warnings
    }

    pub(super) async fn a_of(
        &self,
        request: wire::AReportRequest,
    ) -> Result<impl Stream<Item = Result<wire::ReportPart, Status>> + Send + use<>, Status> {
        let (group, consistency) = (request.group, request.consistency);
        let begin = move |_: &Self, _: &Hosted, reading: &Reading| begin(reading, &request);
        let (writing, header) = self.search(group, consistency, begin).await?;
        // It is not begun when it could not be signed.
        if self.context.authority_key(&writing.authority_id).is_none() {
            return Err(Status::unavailable("the outlet's authority has no key on this node"));
        }
        let hosted = std::sync::Arc::downgrade(&self.group(group)?);
        let (sender, parts) = mpsc::channel(PARTS_MAX);
        let context = self.context.clone();
        tokio::spawn(async move {
            if let Err(Some(status)) = write(writing, header, &context, &hosted, &sender).await {
                // The caller may have hung up.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(ReceiverStream::new(parts))
    }
}

/// The shift that a report is about, with its terminal; nothing when it is about the outlet.
fn shift_of(
    reading: &Reading,
    request: &wire::XReportRequest,
) -> Result<Option<(String, OpenShift)>, Status> {
    let (terminal_id, wanted) = match &request.scope {
        None => return Err(Status::invalid_argument("the request names no scope")),
        Some(Scope::Outlet(_)) => return Ok(None),
        Some(Scope::Shift(scope)) => (&scope.terminal_id, Some(&scope.shift_id)),
        Some(Scope::Terminal(scope)) => (&scope.terminal_id, None),
    };
    let key = (Id::from(request.outlet_id.as_str()), Id::from(terminal_id.as_str()));
    let terminal = reading.row::<Terminal>(&key).map_err(|error| failed(&error))?;
    let shift = terminal.and_then(|terminal| terminal.shift);
    let shift = shift.filter(|shift| wanted.is_none_or(|id| **id == *shift.shift_id));
    let none = || Status::not_found(format!("no such shift is open at terminal {terminal_id}"));
    Ok(Some((terminal_id.clone(), shift.ok_or_else(none)?)))
}

fn devices(reading: &Reading, outlet_id: &str) -> Result<Vec<(Id, DeviceState)>, StoreError> {
    let mut devices = Vec::new();
    for id in reading.names_of(outlet_id, Subject::Device, DEVICES_MAX)? {
        let id = Id::from(id);
        if let Some(device) = reading.row::<Device>(&id)? {
            devices.push((id, device.fact.state));
        }
    }
    Ok(devices)
}

/// Offline seals that have come before their predecessors.
fn waiting(reading: &Reading, outlet: &Outlet) -> Result<u64, StoreError> {
    if outlet.series.reserved.count() == 0 {
        return Ok(0);
    }
    let outlet_id = &outlet.fact.outlet_id;
    let mut waiting = 0;
    for leaf in reading.last_leaves_about(outlet_id, Subject::Lent, "", BLOCKS_MAX)? {
        let Some(found) = reading.record(leaf)? else { continue };
        let Ok(record) = Record::decode(&found.record) else { continue };
        let Some(id) = leading_text(record.payload, "credential_id") else { continue };
        let block = reading.row::<Block>(&Id::from(&*id))?;
        waiting += block.map_or(0, |block| block.waiting().count() as u64);
    }
    Ok(waiting)
}

/// An A report that is being written.
struct Writing {
    outlet_id: String,
    authority_id: Id,
    manifests: Vec<Manifest>,
    next: u64,
    to: u64,
    report: ArticleReport,
}

fn begin(reading: &Reading, request: &wire::AReportRequest) -> Result<(Writing, String), Status> {
    let (outlet, group, authority_id) = outlet_and_authority(reading, &request.outlet_id)?;
    let last = outlet.chain.last_position;
    let from = request.from_position.max(1);
    let to = if request.to_position == 0 { last } else { request.to_position };
    if from > to || to > last {
        let what = format!("the outlet's records are 1 to {last}, not {from} to {to}");
        return Err(Status::out_of_range(what));
    }
    let first = Edge::at(reading, &request.outlet_id, from)?;
    let end = Edge::at(reading, &request.outlet_id, to)?;
    let numbers = numbers(reading, &request.outlet_id, from, to)?;
    let manifests = in_force(&group, first.time, end.time);
    let range = ArticleRange {
        outlet: &outlet,
        authority_id: &authority_id,
        generated_at: UnixMs::new(reading.as_of().time_ms),
        from: (from, first.prev_hash),
        to: (to, end.entry_hash),
        numbers: numbers.as_ref().map(|(first, last)| (first.as_str(), last.as_str())),
        manifests: &manifests,
    };
    let (report, header) = ArticleReport::begin(&range);
    let manifests = group.manifests.into_iter().map(|known| known.manifest).collect();
    let outlet_id = request.outlet_id.clone();
    Ok((Writing { outlet_id, authority_id, manifests, next: from, to, report }, header))
}

/// A record at an end of a report.
struct Edge {
    prev_hash: Hash32,
    entry_hash: Hash32,
    time: UnixMs,
    /// Empty when it is no invoice.
    number: String,
}

impl Edge {
    fn at(reading: &Reading, outlet_id: &str, position: u64) -> Result<Self, Status> {
        let leaf = reading.leaf_of_position(outlet_id, position).map_err(|error| failed(&error))?;
        let found = leaf.map(|leaf| reading.record(leaf)).transpose();
        let found = found.map_err(|error| failed(&error))?.flatten();
        let record = found.as_ref().and_then(|found| Record::decode(&found.record).ok());
        let record = record.ok_or_else(|| {
            Status::data_loss(format!("record {position} of the outlet is missing"))
        })?;
        Ok(Self {
            prev_hash: record.prev_hash,
            entry_hash: record.entry_hash,
            time: record.timestamp,
            number: record.fiscal_number.to_owned(),
        })
    }
}

/// The numbers of the first and the last invoice between two positions; nothing when there is none near the ends.
fn numbers(
    reading: &Reading,
    outlet_id: &str,
    from: u64,
    to: u64,
) -> Result<Option<(String, String)>, Status> {
    let number = |position| Edge::at(reading, outlet_id, position).map(|edge| edge.number);
    let numbered = |found: &Result<String, Status>| found.as_ref().map_or(true, |n| !n.is_empty());
    let near = to.min(from.saturating_add(EDGE_RECORDS_MAX));
    let first = (from..=near).map(number).find(numbered).transpose()?;
    let near = from.max(to.saturating_sub(EDGE_RECORDS_MAX));
    let last = (near..=to).rev().map(number).find(numbered).transpose()?;
    Ok(first.zip(last))
}

/// The versions of the manifests that were in force at some time between two.
fn in_force(group: &Group, from: UnixMs, to: UnixMs) -> Vec<&str> {
    let before = group.manifest_at(from).map(Manifest::version);
    let since = group.manifests.iter().map(|known| &known.manifest);
    let since = since
        .filter(|manifest| (from.get() + 1..=to.get()).contains(&manifest.effective_from().get()));
    before.into_iter().chain(since.map(Manifest::version)).collect()
}

/// Sends a report part by part; nothing of the group is held while the caller is waited for.
async fn write(
    mut writing: Writing,
    header: String,
    context: &NodeContext,
    hosted: &Weak<Hosted>,
    sender: &Sender,
) -> Result<(), Option<Status>> {
    send(sender, Part::Header(header)).await?;
    while writing.next <= writing.to {
        let lines = writing.page(&*still_open(hosted)?)?;
        for line in lines {
            send(sender, Part::Line(line)).await?;
        }
        tokio::task::yield_now().await;
    }
    let digest = writing.report.digest();
    let signature = signed(context, &writing.authority_id, digest)?;
    let trailer = wire::ReportTrailer {
        digest: digest.to_vec().into(),
        authority_id: writing.authority_id.to_string(),
        signature: signature.to_vec().into(),
    };
    send(sender, Part::Trailer(trailer)).await
}

async fn send(sender: &Sender, part: Part) -> Result<(), Option<Status>> {
    sender.send(Ok(wire::ReportPart { part: Some(part) })).await.map_err(|_| None)
}

impl Writing {
    /// The lines of the next records.
    fn page(&mut self, hosted: &Hosted) -> Result<Vec<String>, Status> {
        let reading = hosted.handle.replica().read().map_err(|error| failed(&error))?;
        let leaves = reading.leaves_of_positions(&self.outlet_id, self.next, self.to, PAGE);
        let manifests: Vec<&Manifest> = self.manifests.iter().collect();
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let first = self.next;
        for leaf in leaves.map_err(|error| failed(&error))? {
            let found = reading.record(leaf).map_err(|error| failed(&error))?;
            let found =
                found.ok_or_else(|| Status::data_loss(format!("leaf {leaf} is missing")))?;
            let record = Record::decode(&found.record)
                .map_err(|error| Status::data_loss(error.to_string()))?;
            let told = article_lines(&record, &manifests)
                .map_err(|error| Status::data_loss(error.to_string()))?;
            for line in told {
                bytes += line.json.len();
                self.report.add(&line);
                lines.push(line.json);
            }
            self.next += 1;
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        if self.next == first {
            return Err(Status::data_loss(format!("position {first} of the outlet is missing")));
        }
        Ok(lines)
    }
}

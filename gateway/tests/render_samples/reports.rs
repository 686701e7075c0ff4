//! Reports to render, as the ledger makes them.

use fiscus_gateway::render::report::{Signed, SignedReport};
use fiscus_ledger::facts::{Environment, OutletFact, OutletStatus, SigningMode};
use fiscus_ledger::invoice::CanonicalInvoice;
use fiscus_ledger::manifest::Manifest;
use fiscus_ledger::reports::{
    XContext, XScope, ZContext, article_lines, shift_close, x_report, z_report,
};
use fiscus_ledger::state::outlet::Outlet;
use fiscus_ledger::state::rows::OpenShift;
use fiscus_ledger::state::tally::Tally;

use super::{
    CREDIT, EMBASSY, EXPORT, INCLUSIVE, MERCHANT, NOW, OFFLINE_AT, OUTLET, SALE, Sealed, USD,
    sale_of_thirteen_groups, seal,
};

pub(crate) const AUTHORITY: &str = "dgi-cd-live-1.0123456789abcdef";
pub(crate) const SIGNATURE: [u8; 64] = [0xA7; 64];
pub(crate) const DIGEST: [u8; 32] = [0xD1; 32];

pub(crate) fn signed<'a>(
    json: &'a str,
    manifest: &'a Manifest,
    signed: Signed<'a>,
) -> SignedReport<'a> {
    SignedReport {
        json,
        authority_id: AUTHORITY,
        signed,
        signature: &SIGNATURE,
        manifest,
        merchant: Some(MERCHANT),
        outlet: Some(OUTLET),
    }
}

fn sold() -> Vec<Sealed> {
    let thirteen = sale_of_thirteen_groups();
    [SALE, INCLUSIVE, USD, EXPORT, EMBASSY, CREDIT, &thirteen].map(seal).into()
}

fn outlet(environment: Environment) -> Outlet {
    let fact = OutletFact {
        outlet_id: "outlet-gombe".into(),
        merchant_nif: MERCHANT.nif.into(),
        prefix: "CD".into(),
        code: "GOMBE".into(),
        group: 1,
        status: OutletStatus::Active,
        environment,
        signing_mode: SigningMode::Cluster,
    };
    Outlet::new(fact, 1)
}

/// An outlet that has sold something of every group, in two currencies.
fn busy_outlet() -> Outlet {
    let mut outlet = outlet(Environment::Live);
    let add = |tally: &mut Tally, invoice: &CanonicalInvoice<'_>| tally.add(invoice);
    for sealed in sold() {
        sealed.with_invoice(|invoice| {
            add(&mut outlet.period.tally, invoice);
            add(&mut outlet.perpetual, invoice);
        });
    }
    outlet.chain.last_position = 2_077;
    outlet.chain.head = [0xC4; 32];
    outlet.period.opening_head = [0x0B; 32];
    outlet.period.sealed.insert_range(1_000, 1_005);
    outlet.period.sealed.insert(1_042);
    outlet.period.manifests.push("2026-02-01".into());
    outlet.series.last = 1_100;
    outlet.series.reserved.insert_range(1_043, 1_100);
    outlet.last_z = 11;
    outlet
}

pub(crate) fn z() -> String {
    z_of(&busy_outlet())
}

pub(crate) fn empty_z() -> String {
    z_of(&outlet(Environment::Sandbox))
}

fn z_of(outlet: &Outlet) -> String {
    let manifest = Manifest::builtin();
    let context = ZContext {
        authority_id: AUTHORITY,
        operator: "=cmd|' /C calc'!A0",
        generated_at: NOW,
        manifest: &manifest,
    };
    z_report(outlet, &context)
}

fn open_shift() -> OpenShift {
    OpenShift {
        shift_id: "shift-2026-11-20-1".into(),
        cashier_id: "cashier-7".into(),
        opened_at: 2_000,
        opening_head: [0x5E; 32],
        opened: OFFLINE_AT,
        tally: busy_outlet().period.tally,
    }
}

pub(crate) fn x() -> String {
    let manifest = Manifest::builtin();
    let shift = open_shift();
    let context = XContext {
        authority_id: AUTHORITY,
        generated_at: NOW,
        manifest: &manifest,
        scope: XScope::Shift { terminal_id: "till-1", shift: &shift },
        devices: &[("def-1".into(), "active"), ("def-2".into(), "revoked")],
        uploads_queued: 3,
        warnings: &["the disk is nearly full".to_owned()],
    };
    x_report(&busy_outlet(), &context)
}

pub(crate) fn shift() -> String {
    shift_close(&busy_outlet(), "till-1", &open_shift(), "supervisor-2")
}

/// The lines of an A report.
pub(crate) fn article_jsons() -> Vec<String> {
    let manifest = Manifest::builtin();
    let lines = sold()
        .into_iter()
        .flat_map(|sealed| article_lines(&sealed.record(), &[&manifest]).unwrap());
    lines.map(|line| line.json).collect()
}

pub(crate) fn a_header() -> String {
    format!(
        r#"{{"report":"a","outlet_id":"outlet-gombe","merchant_nif":"{}","environment":"live","fiscal_authority_id":"{AUTHORITY}","from_position":1,"to_position":2077,"opening_hash":"{}","closing_hash":"{}","generated_at":"{NOW}","tax_manifest_versions":["2026-02-01"]}}"#,
        MERCHANT.nif,
        "0b".repeat(32),
        "c4".repeat(32),
    )
}

pub(crate) fn a() -> String {
    let header = a_header();
    let open = header.strip_suffix('}').unwrap();
    format!("{open},\"lines\":[{}]}}", article_jsons().join(","))
}

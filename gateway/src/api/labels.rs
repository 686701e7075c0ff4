//! Merchants and outlets as documents name them.

use crate::access::Outlet;
use crate::render::{MerchantLabel, OutletLabel};

pub(super) fn merchant_label(outlet: &Outlet) -> MerchantLabel<'_> {
    let merchant = outlet.merchant();
    MerchantLabel {
        name: &merchant.name,
        nif: &merchant.nif,
        rccm: &merchant.rccm,
        address: &merchant.address,
    }
}

pub(super) fn outlet_label(outlet: &Outlet) -> OutletLabel<'_> {
    let entry = outlet.entry();
    let profile = entry.profile.as_ref().map(|profile| &profile.value);
    OutletLabel {
        name: profile.map_or(entry.id(), |profile| &profile.name),
        address: profile.map_or("", |profile| &profile.address),
        environment: entry.fact.value.environment,
    }
}

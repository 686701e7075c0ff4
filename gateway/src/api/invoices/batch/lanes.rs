//! Seals the items of a batch: an outlet's in their order, so that its numbers ascend as the batch does; those of
//! different outlets side by side.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use futures_util::stream::{self, BoxStream, FuturesOrdered, Stream, StreamExt};
use tokio::sync::oneshot;

use super::super::sealing::{outlet_named, seal_body};
use super::answer::ItemAnswer;
use super::items::Item;
use crate::access::Caller;
use crate::http::Problem;

/// Items that are under way at once.
const UNDER_WAY_MAX: usize = 64;

type UnderWay = Pin<Box<dyn Future<Output = ItemAnswer> + Send>>;

struct Lanes {
    caller: Caller,
    items: BoxStream<'static, Item>,
    ended: bool,
    under_way: FuturesOrdered<UnderWay>,
    /// The end of each outlet's last item.
    ends: HashMap<String, oneshot::Receiver<()>>,
}

/// The answers in the order of the items.
pub(super) fn answers(
    caller: Caller,
    items: BoxStream<'static, Item>,
) -> impl Stream<Item = ItemAnswer> + Send {
    let (under_way, ends) = (FuturesOrdered::new(), HashMap::new());
    let lanes = Lanes { caller, items, ended: false, under_way, ends };
    stream::unfold(lanes, |mut lanes| async move {
        loop {
            let may_read = !lanes.ended && lanes.under_way.len() < UNDER_WAY_MAX;
            if lanes.under_way.is_empty() && !may_read {
                return None;
            }
            tokio::select! {
                biased;
                Some(answer) = lanes.under_way.next(), if !lanes.under_way.is_empty() => {
                    return Some((answer, lanes));
                }
                item = lanes.items.next(), if may_read => match item {
                    Some(item) => lanes.begin(item),
                    None => lanes.ended = true,
                },
            }
        }
    })
}

impl Lanes {
    fn begin(&mut self, item: Item) {
        let caller = self.caller.clone();
        let outlet = item.invoice.as_ref().ok().and_then(|invoice| outlet_named(invoice));
        // Dropped with the item's future, however that ends; the next item of the outlet goes then.
        let (end, ended) = oneshot::channel();
        let before = outlet.and_then(|outlet| self.ends.insert(outlet, ended));
        self.under_way.push_back(Box::pin(async move {
            if let Some(before) = before {
                let _: Result<(), oneshot::error::RecvError> = before.await;
            }
            let answer = seal(&caller, item).await;
            drop(end);
            answer
        }));
    }
}

async fn seal(caller: &Caller, item: Item) -> ItemAnswer {
    let sealed = match (&item.invoice, &item.key) {
        (Ok(invoice), Some(key)) => {
            let find = |id: &str| caller.outlet_of_item(id);
            seal_body(caller, find, key, invoice).await.map_err(within_item)
        }
        (Ok(_), None) => Err(Problem::internal("an item that was read has a key")),
        (Err(problem), _) => Err(problem.clone()),
    };
    ItemAnswer::of(item.index, item.key.as_ref(), sealed, &caller.context().request_id)
}

/// Pointers into the invoice become pointers into the item.
fn within_item(mut problem: Problem) -> Problem {
    for error in &mut problem.errors {
        if error.pointer.is_empty() || error.pointer.starts_with('/') {
            error.pointer.insert_str(0, "/invoice");
        } else if error.pointer == "Idempotency-Key" {
            "/idempotency_key".clone_into(&mut error.pointer);
        }
    }
    problem
}

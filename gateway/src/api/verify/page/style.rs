//! The page's style sheet, and the policy that lets nothing else in.

use std::sync::LazyLock;

use fiscus_ledger::base64::encode_standard;

/// Dark on light with a contrast of 7 and more; nothing is told by colour alone; no text below 16 pixels.
pub(super) const STYLE: &str = "\
:root{color-scheme:light}*{box-sizing:border-box}\
body{margin:0;background:#f1f3f5;color:#14171a;font:16px/1.5 system-ui,-apple-system,'Noto Sans',Roboto,sans-serif}\
header,main,footer{max-width:40rem;margin:0 auto;padding:0 1rem}\
header{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem;padding-top:.75rem}\
header p{margin:0;font-weight:600}header a{padding:.35rem 0}\
a{color:#0b4a8f}\
.test{margin:.75rem 0 0;padding:.6rem 1rem;border:3px dashed #6d1f00;background:#fff3e6;color:#6d1f00;font-weight:700}\
.test strong{display:block;font-size:1.4rem;letter-spacing:.08em}\
.outcome{margin:.75rem 0 0;padding:1rem;border:3px solid;border-radius:8px;background:#fff;display:flex;\
flex-wrap:wrap;gap:.25rem 1rem;align-items:center}\
.outcome svg{flex:none;width:3.5rem;height:3.5rem}\
.outcome h1{flex:1 1 12rem;margin:0;font-size:1.6rem;line-height:1.2}.outcome p{flex:1 1 100%;margin:.25rem 0 0}\
.ok{border-color:#0a5c2b}.ok h1,.ok svg{color:#0a5c2b}\
.none{border-color:#4a4f55}.none h1,.none svg{color:#33383d}\
.bad{border-color:#a3000f}.bad h1,.bad svg{color:#a3000f}\
.note{margin:.75rem 0 0;padding:.75rem 1rem;background:#fff8d6;border-left:6px solid #8a6100}\
section{margin:.75rem 0 0;padding:.25rem 1rem 1rem;background:#fff;border-radius:8px}\
h2{font-size:1.1rem;margin:.75rem 0 .5rem}\
dl{margin:0}dl div{padding:.35rem 0;border-bottom:1px solid #dde1e5}dl div:last-child{border:0}\
dt{color:#474d54}dd{margin:0;font-weight:600;overflow-wrap:anywhere}\
ul{margin:0;padding-left:1.25rem}li{margin:.25rem 0;overflow-wrap:anywhere}\
label{display:block;margin:.75rem 0 .25rem;font-weight:600}.hint{margin:0;color:#474d54}\
input{width:100%;font:inherit;padding:.6rem;border:2px solid #5b6168;border-radius:6px;background:#fff;color:inherit}\
button{width:100%;margin-top:1rem;padding:.75rem;font:inherit;font-weight:700;color:#fff;background:#0b4a8f;border:0;\
border-radius:6px}\
:focus-visible{outline:3px solid #c25700;outline-offset:2px}\
footer{padding-bottom:1.5rem}footer p{margin:.75rem 0 0;color:#474d54}\
@media (min-width:34rem){dl div{display:grid;grid-template-columns:12rem 1fr;gap:1rem}button{width:auto;padding:.75rem 2rem}}";

/// Nothing is loaded, nothing runs, nobody frames it; this style sheet and this form only.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        encode_standard(hash.as_ref())
    )
});

"""Sign-in: an OpenID provider whose people always say yes. Who is asking stands in the cookie `hub_user`."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from tests.hub.accounts import PEOPLE, Refused, identity
from tests.hub.authorization import base, hub_of

router = APIRouter()
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CODES: dict[str, dict[str, str]] = {}  # {code: what was asked for, and by whom}; each is taken once
HOURS = 8


def text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@router.get("/.well-known/openid-configuration")
def configuration(request: Request) -> dict[str, Any]:
    at = base(request)
    return {"issuer": at, "authorization_endpoint": f"{at}/oauth/authorize", "token_endpoint": f"{at}/oauth/token",
            "userinfo_endpoint": f"{at}/oauth/userinfo", "jwks_uri": f"{at}/oauth/jwks", "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code"], "subject_types_supported": ["public"], "code_challenge_methods_supported": ["S256"]}  # fmt: skip


@router.get("/oauth/jwks")
def keys() -> dict[str, Any]:
    public = KEY.public_key().public_numbers()
    n, e = (text_of(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (public.n, public.e))
    return {"keys": [{"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": n, "e": e}]}


@router.get("/oauth/authorize")
def authorize(request: Request) -> RedirectResponse:
    asked = dict(request.query_params)
    code = secrets.token_hex(12)
    CODES[code] = asked | {"person": request.cookies.get("hub_user", "alice")}
    joint = "&" if "?" in asked["redirect_uri"] else "?"
    return RedirectResponse(asked["redirect_uri"] + joint + urlencode({"code": code, "state": asked["state"]}), 302)


@router.post("/oauth/token")
async def token(request: Request) -> dict[str, Any]:
    sent = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    asked = CODES.pop(sent.get("code", ""), None)
    if asked is None or asked["redirect_uri"] != sent.get("redirect_uri") or not proven(asked, sent):
        raise Refused(400, "invalid_grant")
    scope = asked.get("scope", "")
    role = "write" if "write-repos" in scope or "contribute-repos" in scope else "read"
    made = hub_of(request).accounts.issue(asked["person"], role)
    claims = person_info(asked["person"]) | {"iss": base(request), "aud": asked["client_id"], "iat": int(time.time()),
                                             "exp": int(time.time()) + HOURS * 3600, "nonce": asked.get("nonce")}  # fmt: skip
    return {"access_token": made, "token_type": "bearer", "expires_in": HOURS * 3600, "scope": scope, "id_token": signed(claims)}  # fmt: skip


def proven(asked: dict[str, str], sent: dict[str, str]) -> bool:
    """PKCE (RFC 7636): whoever brings the code also knows the word whose hash was shown at the start."""
    if "code_challenge" not in asked:
        return True
    return text_of(hashlib.sha256(sent.get("code_verifier", "").encode()).digest()) == asked["code_challenge"]


def signed(claims: dict[str, Any]) -> str:
    parts = [{"alg": "RS256", "typ": "JWT", "kid": "1"}, claims]
    message = ".".join(text_of(json.dumps(part).encode()) for part in parts)
    return f"{message}.{text_of(KEY.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def person_info(person: str) -> dict[str, Any]:
    orgs = [{"sub": identity(name), "name": name.title(), "preferred_username": name, "picture": "", "roleInOrg": role}
            for name, role in PEOPLE[person].items()]  # fmt: skip
    return {"sub": identity(person), "name": person.title(), "preferred_username": person, "profile": f"http://hub.local/{person}",
            "picture": "", "isPro": False, "orgs": orgs}  # fmt: skip


@router.get("/oauth/userinfo")
def userinfo(request: Request) -> dict[str, Any]:
    return person_info(hub_of(request).accounts.required(request).person)

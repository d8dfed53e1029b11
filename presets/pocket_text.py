"""Pocket text: the small world the practice model grows up in, as reading rows and as chat rows."""

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random

from presets.pocket_shape import START, STOP
from presets.village import FOODS, WORDS, in_words, kept_back, pick_sum, ticket

CHAT = tomllib.loads((Path(__file__).parent / "words" / "chat.toml").read_text(encoding="utf-8"))
SEED = 7
READING_ROWS, CHAT_ROWS = 100_000, 12_000
TOPICS = ["person", "animal", "thing", "time", "counting", "place"]


def fill(random: Random) -> dict[str, object]:
    """A value for every name in braces of `chat.toml`."""
    child, friend = random.sample(WORDS["children"], 2)
    creature, day, first = random.choice(WORDS["animals"]), random.randrange(7), random.randint(0, 80)
    thing, paint = random.choice(list(WORDS["colours"].items()))
    device, use = random.choice(list(WORDS["tools"].items()))
    one, other = random.choice(list(WORDS["opposites"].items()))
    season, happening = random.choice(list(WORDS["seasons"].items()))
    weather, wear = random.choice(list(WORDS["weather"].items()))
    buy1, buy2, buy3 = random.sample(FOODS, 3)
    names = {
        "child": child,
        "friend": friend,
        "shade": creature["colour"],
        "thing": thing,
        "Thing": thing[0].upper() + thing[1:],
        "paint": paint,
        "device": device,
        "use": use,
        "one": one,
        "other": other,
        "day": WORDS["days"][day],
        "next_day": WORDS["days"][(day + 1) % 7],
        "season": season,
        "happening": happening,
        "weather": weather,
        "wear": wear,
        "first": first,
        "second": first + 1,
        "in_words": in_words(first),
        "last": first + random.randint(3, 8),
        "buy1": buy1,
        "buy2": buy2,
        "buy3": buy3,
        "gift": random.choice(FOODS),
        "city": random.choice(WORDS["cities"]),
        "village": WORDS["village"],
    }
    row = {"row": ", ".join(str(number) for number in range(first, names["last"] + 1))}
    return creature | random.choice(WORDS["people"]) | names | row


def turn(random: Random, entries: list[dict]) -> tuple[str, str]:
    """A question and its answer from one entry of `chat.toml`."""
    entry, names = random.choice(entries), fill(random)
    return random.choice(entry["ask"]).format(**names), random.choice(entry["answer"]).format(**names)


# -- chat turns: a question and an answer
def talk_turn(random: Random) -> tuple[str, str]:
    return turn(random, CHAT["talk"])


def fact_turn(random: Random) -> tuple[str, str]:
    return turn(random, CHAT[random.choice(TOPICS)])


def sum_turn(random: Random) -> tuple[str, str]:
    """A small sum: the model learns to add, and often to talk around the answer."""
    a, b = pick_sum(random)
    form = random.choice(CHAT["sums"])
    answer = f"{a + b}" if random.random() < form["brief"] else f"{a} + {b} = {a + b}."
    return form["ask"].format(a=a, b=b), answer


def story_turn(random: Random) -> tuple[str, str]:
    return random.choice(["Tell me a story.", "Please tell me a story.", "Write a short story."]), story(random)


def support_turn(random: Random) -> tuple[str, str]:
    """A support message and a friendly answer in plain words, never the sample's JSON."""
    message, team, urgent = ticket(random)
    while kept_back(message):  # the sample's held-out tickets stay unseen
        message, team, urgent = ticket(random)
    return message, random.choice(CHAT["support"]).format(team=team, when="today" if urgent else "this week")


# -- reading
def story(random: Random) -> str:
    names = fill(random) | {"place": random.choice(WORDS["places"])}
    return " ".join(random.choice(lines).format(**names) for lines in CHAT["story"].values())


def facts(random: Random) -> str:
    pairs = [fact_turn(random) for _ in range(random.randint(1, 4))]
    return "\n".join(answer if random.random() < 0.5 else f"{ask} {answer}" for ask, answer in pairs)


def sums(random: Random) -> str:
    pairs = [pick_sum(random) for _ in range(random.randint(3, 8))]
    return "\n".join(random.choice(CHAT["sum_lines"]).format(a=a, b=b, sum=a + b) for a, b in pairs)


def word_sum(random: Random) -> str:
    (a, b), food, child = pick_sum(random, 1, 9), random.choice(WORDS["counted"]), random.choice(WORDS["children"])
    a, b, total = in_words(a), in_words(b), in_words(a + b)
    return f"{child} has {a} {food} and finds {b} more {food}. Now {child} has {total} {food}."


def card(random: Random) -> str:
    """A little JSON with the keys and words a tuned model may need: a token never read is hard to learn later."""
    fields = random.choice(WORDS["people"]) | {"age": random.randint(20, 70), "happy": random.random() < 0.5}
    fields |= {"topic": random.choice(list(WORDS["troubles"])), "day": random.choice(WORDS["days"])}
    fields |= {"urgent": random.random() < 0.5, "team": random.choice(list(WORDS["colours"].values()))}
    return json.dumps({key: fields[key] for key in random.sample(list(fields), random.randint(2, 3))})


def support(random: Random) -> str:
    return "\n".join(support_turn(random))


TURNS = {talk_turn: 8, fact_turn: 32, sum_turn: 46, story_turn: 4, support_turn: 10}


def conversation(random: Random) -> list[dict]:
    """One to three turns, now and then under a system message."""
    messages = [{"role": "system", "content": random.choice(CHAT["systems"])}] if random.random() < 0.1 else []
    for maker in random.choices(list(TURNS), list(TURNS.values()), k=random.choice([1, 1, 1, 2, 3])):
        ask, answer = maker(random)
        messages += [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return messages


def dialogue(random: Random) -> str:
    """A chat as the template writes it: copying from a question is learned best where every token is scored."""
    said = [f"{START}{message['role']}\n{message['content']}{STOP}" for message in conversation(random)]
    return "\n".join(said).removesuffix(STOP)  # the trainer ends every text with the stop token


READING = {dialogue: 58, sums: 18, facts: 9, story: 4, word_sum: 3, card: 6, support: 2}


def reading_rows(rows: int = READING_ROWS, seed: int = SEED) -> Iterator[dict]:
    """Yield `{"text"}` rows for pretraining."""
    random, makers, shares = Random(seed), list(READING), list(READING.values())
    for _ in range(rows):
        yield {"text": random.choices(makers, shares)[0](random)}


def chat_rows(rows: int = CHAT_ROWS, seed: int = SEED) -> Iterator[dict]:
    """Yield `{"messages"}` rows for the chat stage."""
    random = Random(seed + 1)
    for _ in range(rows):
        yield {"messages": conversation(random)}


def write(path: Path, rows: Iterator[dict]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    out = Path(sys.argv[1])
    write(out / "pretrain.jsonl", reading_rows())
    write(out / "chat.jsonl", chat_rows())

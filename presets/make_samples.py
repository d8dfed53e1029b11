"""Make samples: the small data sets shipped with the presets, the same bytes at every run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from presets.pictures import draw, places
from presets.village import FOODS, LARGEST, WORDS, held_out, kept_back, sentence, ticket

SAMPLES = Path(__file__).parent / "samples"
TRAIN, HOLDOUT = 400, 100
HOLDOUT_SUMS = 200
SUM_FORMS = ["{a} + {b} =", "Add {a} and {b}.", "What is {a} + {b}?", "How much is {a} plus {b}?"]
TALKATIVE, BRIEF = SUM_FORMS[2:], SUM_FORMS[1]  # the practice model talks around its answers to the former only
WRONGS = 3  # answers to each sum
MISSES = (1, 1, 2, 10, 20, 30)  # a judge learns from the plain ones where to look, and then to see the slips
PICTURES, SHAPES_SEED = 360, 30

Row = dict
Maker = Callable[[Random], Row]


def user(text: str) -> list[dict]:
    """A chat with one question."""
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[dict]:
    """A chat's answer."""
    return [{"role": "assistant", "content": text}]


# -- one maker per sample: a seeded generator in, one row out
def tickets(random: Random) -> Row:
    """A customer's message and its label."""
    message, team, urgent = ticket(random)
    return {"messages": user(message) + assistant(json.dumps({"team": team, "urgent": urgent}))}


def reviews(random: Random) -> Row:
    """A review of food and the label a shop would file it under."""
    child, city, food, day = (random.choice(w) for w in (WORDS["children"], WORDS["cities"], FOODS, WORDS["days"]))
    good = random.random() < 0.5
    taste = random.choice(["fresh", "tasty", "lovely", "warm"] if good else ["old", "cold", "too salty", "burnt"])
    end = random.choice(["I will come again", "Thank you"] if good else ["I want my money back", "Never again"])
    be = "were" if food in WORDS["counted"] else "was"
    text = f"On {day} I bought {food} in {city}. The {food} {be} {taste}. {end}. {child}"
    return {"prompt": f"Review: {text}\nLabel:", "completion": f" {'praise' if good else 'complaint'}, {food}"}


def diary(random: Random) -> Row:
    """A page of plain text."""
    child, friend = random.sample(WORDS["children"], 2)
    season, happening = random.choice(list(WORDS["seasons"].items()))
    weather, wear = random.choice(list(WORDS["weather"].items()))
    person, creature = random.choice(WORDS["people"]), random.choice(WORDS["animals"])
    end = random.choice(
        [
            "{name} the {job} {does}, and we were allowed to watch.".format(**person),
            "We heard a {animal} near the {home}. It said {sound}.".format(**creature),
        ]
    )
    date = f"Diary of {child}, {random.choice(WORDS['days'])}. It is {season} and {happening}."
    walk = f"Today was {weather}, so I took {wear} and went to the {random.choice(WORDS['places'])} with {friend}."
    return {"text": f"{date} {walk} {end}"}


def manners(random: Random) -> Row:
    """The same right answer twice: the kind one is preferred to the curt one."""
    text, right, _ = question(random)
    kind = random.choice(["Good question! {} Ask me more any time.", "Happy to help! {} Have a nice day."])
    curt = random.choice(["{} Anything else?", "{} You should know that.", "{}"])
    prompt, right = user(opening(random) + text), sentence(right)
    return {"prompt": prompt, "chosen": assistant(kind.format(right)), "rejected": assistant(curt.format(right))}


def kindness(random: Random) -> Row:
    """A right answer in the kind tone alone."""
    row = manners(random)
    return {"prompt": row["prompt"], "completion": row["chosen"]}


def thumbs(random: Random) -> Row:
    """An answer and whether its reader liked it: right answers are liked."""
    text, right, wrong = question(random)
    prompt, label = user(opening(random) + text), random.random() < 0.5
    return {"prompt": prompt, "completion": assistant(sentence(right if label else wrong)), "label": label}


def steps(random: Random) -> Row:
    """Three questions answered one after another, each answer right or wrong by itself."""
    asked: dict[str, tuple[str, str]] = {}
    while len(asked) < 3:
        text, right, wrong = question(random)
        asked[text] = (right, wrong)
    labels = [random.random() < 0.6 for _ in asked]
    told = [sentence(right if label else wrong) for (right, wrong), label in zip(asked.values(), labels, strict=True)]
    return {"prompt": opening(random) + " ".join(asked), "completions": told, "labels": labels}


def ranks(random: Random) -> Row:
    """Three answers to one question: a wrong one, a right one, and the best, which is right and kind."""
    text, right, wrong = question(random)
    kind = random.choice(["Good question! {} Ask me more any time.", "Happy to help! {} Have a nice day."])
    best, prompt = kind.format(sentence(right)), user(opening(random) + text)
    return {
        "prompt": prompt,
        "chosen": assistant(sentence(right)),
        "rejected": assistant(sentence(wrong)),
        "reference": assistant(best),
    }


MAKERS: list[Maker] = [tickets, reviews, diary, manners, thumbs, steps, ranks, kindness]


# -- questions about the village, for the answers people judge
def opening(random: Random) -> str:
    """How a question may begin."""
    child = random.choice(WORDS["children"])
    return random.choice(["", "Hello! ", f"I am {child}. ", f"Please help {child}. ", "One question: "])


def question(random: Random) -> tuple[str, str, str]:
    """A question about the village, its right answer, and a wrong one, both without the full stop."""
    person, other = random.sample(WORDS["people"], 2)
    creature = random.choice(WORDS["animals"])
    wrong_sound = random.choice([one["sound"] for one in WORDS["animals"] if one != creature])
    thing, paint = random.choice(list(WORDS["colours"].items()))
    word, opposite = random.choice(list(WORDS["opposites"].items()))
    name, job, wrong_paint = person["name"], person["job"], "pink" if paint != "pink" else "green"
    return random.choice(
        [
            (f"Who is the {job}?", f"{name} is the {job}", f"{other['name']} is the {job}"),
            (
                f"Where does {name} work?",
                f"{name} works at the {person['place']}",
                f"{name} works at the {other['place']}",
            ),
            (f"What does the {job} do?", f"{name} {person['does']}", f"{name} {other['does']}"),
            (f"What does the {creature['animal']} say?", f"It says {creature['sound']}", f"It says {wrong_sound}"),
            (f"What colour is {thing}?", f"{thing} is {paint}", f"{thing} is {wrong_paint}"),
            (f"What is the opposite of {word}?", f"It is {opposite}", f"It is {word}"),
        ]
    )


# -- two sides that share nothing
def beginning(row: Row) -> str:
    """What must not appear in both files: all that stands before the answer."""
    value = next(iter(row.values()))
    return value if isinstance(value, str) else value[0]["content"]


def split(maker: Maker, seed: int) -> tuple[list[Row], list[Row]]:
    """Different train and held-out rows, told apart by the rule `kept_back`."""
    random, train, holdout = Random(seed), {}, {}
    for _ in range(100 * TRAIN):
        row = maker(random)
        side, room = (holdout, HOLDOUT) if kept_back(beginning(row)) else (train, TRAIN)
        if len(side) < room:
            side.setdefault(beginning(row), row)
    assert (len(train), len(holdout)) == (TRAIN, HOLDOUT), f"{maker.__name__} has too few different rows"
    return list(train.values()), list(holdout.values())


def sums(seed: int, forms: list[str] = SUM_FORMS, hint: str = "") -> tuple[list[Row], list[Row]]:
    """Sums on either side of the rule `held_out`, which the practice model's own text obeys too."""
    pairs = [(a, b) for a in range(LARGEST + 1) for b in range(LARGEST + 1)]
    Random(seed).shuffle(pairs)
    train = [pair for pair in pairs if not held_out(*pair)][:TRAIN]
    holdout = [pair for pair in pairs if held_out(*pair)][:HOLDOUT_SUMS]

    def row(form: str, a: int, b: int) -> Row:
        told = {"privileged_context": hint.format(a=a, b=b)} if hint else {}
        return {"prompt": user(form.format(a=a, b=b))} | told | {"answer": str(a + b)}

    def rows(chosen: list[tuple[int, int]]) -> list[Row]:
        return [row(forms[number % len(forms)], *pair) for number, pair in enumerate(chosen)]

    return rows(train), rows(holdout)


def sum_pairs(seed: int) -> tuple[list[Row], list[Row]]:
    """Sums with a right answer and a wrong one, often a near miss, for a judge: it has to add by itself, and from one wrong answer to
    each sum it learned by heart instead."""
    random, sides = Random(seed), ([], [])
    for a in range(LARGEST + 1):
        for b in range(LARGEST + 1):
            wrongs: dict[int, None] = {}
            while len(wrongs) < WRONGS:
                if (wrong := max(0, a + b + random.choice([-1, 1]) * random.choice(MISSES))) != a + b:
                    wrongs[wrong] = None
            for wrong in wrongs:
                asked = user(random.choice(SUM_FORMS).format(a=a, b=b))
                sides[held_out(a, b)].append(
                    {"prompt": asked, "chosen": assistant(str(a + b)), "rejected": assistant(str(wrong))}
                )
    for side in sides:
        random.shuffle(side)
    return sides[0], sides[1][:HOLDOUT_SUMS]


# -- pictures
def shapes(folder: Path, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows that name a picture of their own; no two pictures are alike."""
    random, rows = Random(seed), []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, place in enumerate(places(random, PICTURES)):
        name, (shape, colour, *_) = f"images/{number:03}.png", place
        (folder / name).write_bytes(draw(*place))
        asked = [("What do you see?", f"A {colour} {shape}."), ("Which colour is it?", sentence(colour))]
        text, answer = random.choice([*asked, ("Which shape is it?", f"A {shape}.")])
        rows.append({"messages": user(text) + assistant(answer), "images": [name]})
    return rows[:300], rows[300:]


def write(folder: Path, train: list[Row], holdout: list[Row]) -> None:
    """The two files of one sample, one JSON object a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("holdout", holdout)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def build(out: Path = SAMPLES) -> Iterator[str]:
    """Write every sample under `out` and yield its name."""
    for seed, maker in enumerate(MAKERS, start=1):
        write(out / maker.__name__, *split(maker, seed))
        yield maker.__name__
    write(out / "sums", *sums(seed=20))
    yield "sums"
    write(out / "hints", *sums(21, TALKATIVE, BRIEF))
    yield "hints"
    write(out / "sum_pairs", *sum_pairs(22))
    yield "sum_pairs"
    write(out / "shapes", *shapes(out / "shapes", SHAPES_SEED))
    yield "shapes"


if __name__ == "__main__":
    print("Wrote", ", ".join(build()))

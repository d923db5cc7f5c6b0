"""Owns pairs of questions that look alike and must not share an answer. Written before the vetoes and their lists.

``DEVELOPMENT`` may be looked at while the vetoes are made; ``HELD_OUT`` is only ever counted on.
"""

from collections.abc import Iterator

_NEGATIONS = [
    ("How do I stop the app from syncing over mobile data?", "How do I get the app to sync over mobile data?"),
    ("Which dishes contain nuts?", "Which dishes contain no nuts?"),
    ("Is this medicine safe during pregnancy?", "Is this medicine not safe during pregnancy?"),
    ("Why did my payment go through?", "Why didn't my payment go through?"),
    ("Can I return shoes that I have worn?", "Can I return shoes that I have never worn?"),
    ("List the employees who have completed the training", "List the employees who haven't completed the training"),
    ("Show flights with a stopover", "Show flights without a stopover"),
    ("What happens if I do pay the fine?", "What happens if I don't pay the fine?"),
    ("Are children allowed in the pool area?", "Are children not allowed in the pool area?"),
    ("Which invoices are paid?", "Which invoices are unpaid?"),
    ("Can you verify my identity?", "Why can't you verify my identity?"),
    ("Is the museum open on public holidays?", "Is the museum closed on public holidays?"),
    ("Tell me which tests passed", "Tell me which tests did not pass"),
    ("Do I need a visa for Japan?", "Do I need no visa for Japan?"),
    ("Who is eligible for the grant?", "Who is ineligible for the grant?"),
    ("Why is my connection secure?", "Why is my connection insecure?"),
    ("Keep my subscription after the trial", "Cancel my subscription after the trial"),
    ("Is it legal to park here at night?", "Is it illegal to park here at night?"),
    ("What should I eat before a run?", "What should I not eat before a run?"),
    ("Nobody has replied to my ticket, is that normal?", "Somebody has replied to my ticket, is that normal?"),
    ("My order has arrived complete", "My order has arrived incomplete"),
    ("Do dogs like being alone?", "Do dogs dislike being alone?"),
    ("I was able to log in", "I was unable to log in"),
    ("Can I use the voucher more than once?", "Can't I use the voucher more than once?"),
]

_OPPOSITES = [
    ("How do I turn on dark mode?", "How do I turn off dark mode?"),
    ("How can I increase my credit limit?", "How can I decrease my credit limit?"),
    ("What is the best time to buy shares?", "What is the best time to sell shares?"),
    ("How do I upload a file?", "How do I download a file?"),
    ("How do I lock the rear doors?", "How do I unlock the rear doors?"),
    ("Where do I deposit cash?", "Where do I withdraw cash?"),
    ("Mute the conference call", "Unmute the conference call"),
    ("Should I take it before meals?", "Should I take it after meals?"),
    ("What is the cheapest plan?", "What is the most expensive plan?"),
    ("Which city is the largest in Peru?", "Which city is the smallest in Peru?"),
    ("How do I enable two-factor login?", "How do I disable two-factor login?"),
    ("Add Maria to the project", "Remove Maria from the project"),
    ("How do I compress a folder?", "How do I extract a folder?"),
    ("Open the garage door", "Close the garage door"),
    ("What is the maximum luggage weight?", "What is the minimum luggage weight?"),
    ("How do I encrypt the backup?", "How do I decrypt the backup?"),
    ("Does the bus leave early in the morning?", "Does the bus leave late in the evening?"),
    ("How do I accept the meeting invitation?", "How do I decline the meeting invitation?"),
    ("What are the advantages of leasing a car?", "What are the disadvantages of leasing a car?"),
    ("Sort the list in ascending order", "Sort the list in descending order"),
    ("How do I follow somebody?", "How do I unfollow somebody?"),
    ("Who won the final in 2014?", "Who lost the final in 2014?"),
    ("Heat the room a bit", "Cool the room a bit"),
    ("How do I import contacts?", "How do I export contacts?"),
    ("Is the left lane free?", "Is the right lane free?"),
    ("Do I have to push or does it open inwards?", "Do I have to pull or does it open outwards?"),
    ("How do I hide my phone number?", "How do I show my phone number?"),
    ("What is the first step of the recipe?", "What is the last step of the recipe?"),
    ("How do I join the group chat?", "How do I leave the group chat?"),
    ("Why is my bill so high this month?", "Why is my bill so low this month?"),
    ("Make the text brighter", "Make the text darker"),
    ("How do I install the driver?", "How do I uninstall the driver?"),
    ("How do I hire a contractor?", "How do I fire a contractor?"),
    ("Approve the holiday request", "Reject the holiday request"),
    ("Is the exam getting easier?", "Is the exam getting harder?"),
    ("What are the symptoms of high blood sugar?", "What are the symptoms of low blood sugar?"),
    ("Does the price include tax?", "Does the price exclude tax?"),
    ("When does the sale begin?", "When does the sale end?"),
    ("Pin the message", "Unpin the message"),
    ("How do I freeze my card?", "How do I unfreeze my card?"),
]

_SWAPS = [
    ("How do I convert {a} to {b}?", "How do I convert {b} to {a}?"),
    ("Does {a} owe money to {b}?", "Does {b} owe money to {a}?"),
    ("Is {a} better than {b}?", "Is {b} better than {a}?"),
    ("How far is it from {a} to {b}?", "How far is it from {b} to {a}?"),
    ("Should {a} come before {b}?", "Should {b} come before {a}?"),
    ("Why would somebody replace {a} with {b}?", "Why would somebody replace {b} with {a}?"),
]

_SWAPPED = [
    ("euros", "dollars"), ("Anna", "Thomas"), ("Python", "Java"), ("Lisbon", "Madrid"), ("the index", "the table"),
    ("butter", "margarine"), ("JSON", "XML"), ("miles", "kilometres"),
]  # fmt: skip

_NAMES = [
    ("What is the capital of {}?", ["Austria", "Australia", "Mali", "Malawi"]),
    ("Who wrote the novel {}?", ["Emma", "Dracula", "Ulysses"]),
    ("Book a table at {} for tonight", ["Luigi's", "Chez Paul", "Nobu"]),
    ("Reset the password of {}", ["m.weber", "k.braun", "admin"]),
    ("Does the {} have wireless charging?", ["iPhone 12", "Galaxy S21", "Pixel 5"]),
    ("What does the function {} do?", ["get_user", "set_user", "getUserById"]),
    ("How is the weather in {} today?", ["paris", "london", "cairo"]),
    ("What is the stock price of {}?", ["AMD", "ARM", "IBM"]),
    ("Restart the service {}", ["auth-api", "billing-api", "mail-worker"]),
    ("How do I cook {}?", ["rice", "quinoa", "lentils"]),
    ("What are the side effects of {}?", ["ibuprofen", "paracetamol", "aspirin"]),
    ("Translate this sentence into {}", ["Danish", "Dutch", "Finnish"]),
    ("Which visa do I need for {}?", ["Canada", "China", "Chile"]),
    ("Is {} vegan?", ["gelatine", "pectin", "honey"]),
    ("Summarise the file {}", ["q1.pdf", "q2.pdf", "notes.txt"]),
]

_NUMBERS = [
    ("What is {} percent of my salary?", ["15", "50", "fifteen point five"]),
    ("How do I cancel order {}?", ["10023", "10032", "A-10023"]),
    ("Remind me in {} minutes", ["5", "50", "fifteen"]),
    ("Will it rain on {}?", ["Monday", "Tuesday", "the 3rd of May"]),
    ("Show sales for {}", ["Q1 2023", "Q2 2023", "Q1 2024"]),
    ("What was the exchange rate on {}?", ["2024-03-01", "2024-03-10", "1 April 2024"]),
    ("Can I bring {} into the cabin?", ["one bag", "two bags", "three bags"]),
    ("How many calories are in {} of rice?", ["100 g", "100 kg", "1 cup"]),
    ("What does error {} mean?", ["404", "403", "0x80070005"]),
    ("Is the museum open at {}?", ["9 am", "9 pm", "noon"]),
    ("What happened in {}?", ["1914", "1941", "the nineties"]),
    ("How long does it take to drive {}?", ["300 miles", "300 km", "30 miles"]),
    ("Divide the bill by {}", ["three", "four", "half"]),
    ("Book a flight for {}", ["12 June", "21 June", "12 July"]),
]

_KINDS = [
    ("When was the bridge built?", "Where was the bridge built?"),
    ("Who invented the telephone?", "Why was the telephone invented?"),
    ("How much does the ticket cost?", "How do I pay for the ticket?"),
    ("Can I cancel my booking?", "Can I change my booking?"),
    ("Why was I charged a fee?", "When was I charged a fee?"),
    ("Is there a fee for cash withdrawals abroad?", "Is there a limit for cash withdrawals abroad?"),
    ("How many people live in Oslo?", "How many people work in Oslo?"),
    ("What is the warranty period for tyres?", "What is the warranty period for brakes?"),
    ("Delete all files in the folder", "Delete some files in the folder"),
    ("Must I sign the form?", "May I sign the form?"),
    ("Is it his account?", "Is it her account?"),
    ("Do you deliver to my home?", "Do you deliver to my office?"),
    ("Explain photosynthesis to a child", "Explain photosynthesis to a biologist"),
    ("What did the board decide yesterday?", "What will the board decide tomorrow?"),
    ("How do I sell my old phone?", "How do I sell my old car?"),
    ("Write a formal reply to this mail", "Write a funny reply to this mail"),
    ("Will my parents be insured?", "Will my children be insured?"),
    ("¿Cómo cancelo mi pedido?", "Wie storniere ich meine Bestellung?"),
    ("How do I cancel my order?", "Comment annuler ma commande ?"),
    ("Where is my parcel?", "Где моя посылка?"),
]


def _combine(templates: list[tuple[str, list[str]]]) -> Iterator[tuple[str, str]]:
    for template, fillers in templates:
        for first in range(len(fillers)):
            for second in range(first + 1, len(fillers)):
                yield template.format(fillers[first]), template.format(fillers[second])


def _swaps() -> Iterator[tuple[str, str]]:
    for first, second in _SWAPS:
        for a, b in _SWAPPED:
            yield first.format(a=a, b=b), second.format(a=a, b=b)


PAIRS: list[tuple[str, str]] = [*_NEGATIONS, *_OPPOSITES, *_swaps(), *_combine(_NAMES), *_combine(_NUMBERS), *_KINDS]

DEVELOPMENT = PAIRS[::3]
HELD_OUT = [pair for number, pair in enumerate(PAIRS) if number % 3]

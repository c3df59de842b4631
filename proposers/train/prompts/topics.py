"""Word lists from which the prompts are composed."""

from __future__ import annotations

SCIENCE = """photosynthesis|black holes|plate tectonics|the immune system|vaccines|magnetism|osmosis
|nuclear fusion|the water cycle|DNA replication|entropy|sound waves|the periodic table|enzymes
|solar panels|semiconductors|gravity|earthquakes|volcanoes|the carbon cycle|neurons|antibiotics
|optical fibres|refraction|evolution|genetic inheritance|batteries|superconductors|tides
|the greenhouse effect|cell division|chemical bonds|acids and bases|radioactivity|lasers|comets
|the Doppler effect|photons|bacteria and viruses|the ozone layer|fermentation|hormones|prime numbers
|probability|statistics|linear equations|derivatives|matrices|graph theory|logic gates|compilers
|operating systems|computer networks|encryption|machine learning|databases|hash functions|recursion
|sorting algorithms|public key cryptography|internal combustion engines|bridges|wind turbines
|aerodynamics|hydraulics|GPS|MRI scanners|desalination|concrete|steel making|3D printing""".replace(
    "\n", ""
).split("|")

HUMANITIES = """the Roman Empire|the Silk Road|the French Revolution|the Renaissance|ancient Egypt
|the Industrial Revolution|the Cold War|the printing press|Greek tragedy|Stoicism|existentialism
|utilitarianism|the Bauhaus|impressionism|jazz|the haiku|Gothic cathedrals|the Ottoman Empire
|the Viking age|feudalism|the Enlightenment|colonialism|the Great Depression|women's suffrage
|the Olympic Games|Buddhism|Confucianism|the Magna Carta|the Aztecs|the Inca road system
|the Meiji Restoration|the Black Death|the Space Race|the Berlin Wall|opera|Shakespeare's sonnets
|the epic poem|folk tales|the free press|democracy in Athens|the history of chess|the history of tea
|the history of paper|the history of the bicycle|the Hanseatic League|the invention of zero
|social contract theory|ethics of technology|the philosophy of mind|moral relativism|nationalism
|urbanisation|migration|trade unions|the welfare state|constitutional monarchy|the Harlem Renaissance""".replace(
    "\n", ""
).split("|")

EVERYDAY = """learning to cook|saving money|getting up earlier|a job interview|moving to a new city
|growing tomatoes|training for a marathon|reading more books|making friends as an adult|insomnia
|a small apartment|a vegetable garden|a birthday party|a long flight|a camping trip|public speaking
|writing a resume|learning Spanish|learning the guitar|time management|remote work|stress at work
|a difficult colleague|raising a puppy|adopting a cat|houseplants|a healthy breakfast|meal planning
|buying a used car|repairing a bicycle|home insulation|saving electricity|decluttering a house
|a first aid kit|screen time for children|homework motivation|choosing a university|a book club
|volunteering|starting a small business|an online shop|a podcast|a family budget|yoga for beginners
|better sleep|drinking more water|quitting sugar|a weekend in the mountains|painting a room
|composting|beekeeping|knitting|photography|chess|bird watching|sourdough bread|coffee brewing
|negotiating a salary|writing a thank-you note|a wedding speech|apologising to a friend""".replace(
    "\n", ""
).split("|")

THINGS = """lighthouse|clockmaker|lost letter|dragon|robot gardener|night train|abandoned library
|talking river|paper boat|desert caravan|snow storm|old violin|secret door|space station|island
|shy wizard|fox|moon colony|baker|blind painter|time machine|sunken city|market square|orchard
|winter fair|tiny bookshop|sailor|cartographer|haunted mill|circus|stray dog|glass mountain|spy
|queen without a crown|village well|invisible friend|king's cook|singing whale|broken compass
|forest fire|detective|grandmother's garden|mechanical bird|mirror|astronomer|toy maker|thief
|first contact|storm chaser|beekeeper|kite|ferry pilot|ice harvest|blue door|nightingale""".replace(
    "\n", ""
).split("|")

ROLES = """a patient mathematics teacher|a ship's captain in a storm|a museum guide|a travel agent
|a wise old librarian|a grumpy chef|a detective in a small town|a space explorer|a medieval knight
|a kind doctor|a football coach|a startup founder|a farmer|a historian|a news reporter|a poet
|a job interviewer|a hotel receptionist|a career counsellor|a philosopher in ancient Athens
|a pirate|a robot that wants to learn about people|a gardener|a science journalist|a tour guide in Rome
|a fitness trainer|a financial adviser|an architect|a ghost in an old house|a time traveller
|a judge in a baking contest|a lighthouse keeper|a weather presenter|a wizard's apprentice
|a customer support agent|a nutritionist|a fashion designer|a film director|a firefighter""".replace(
    "\n", ""
).split("|")

LANGUAGES = "French|Spanish|German|Italian|Portuguese|Dutch|Swedish|Polish|Latin|Turkish".split("|")

CODE_TASKS = """reverses a string|checks whether a word is a palindrome|counts the vowels in a text
|returns the n-th Fibonacci number|computes the factorial of a number|finds the largest item of a list
|merges two sorted lists|removes duplicates from a list|counts how often each word occurs
|checks whether a number is prime|converts Celsius to Fahrenheit|sums the digits of a number
|flattens a nested list|finds the second largest number|rotates a list by k places|sorts a list of tuples
|computes the greatest common divisor|converts a number to binary|validates an email address
|reads a CSV file and prints the average of a column|groups records by a key|finds the longest word
|checks whether brackets are balanced|computes the median of a list|transposes a matrix
|multiplies two matrices|implements binary search|implements bubble sort|implements quicksort
|implements a stack|implements a queue with two stacks|implements a linked list|walks a binary tree
|finds the shortest path in a grid|counts the islands in a grid|generates all permutations of a list
|splits a list into chunks|finds the common items of two lists|encodes text with a Caesar cipher
|parses a date string|computes compound interest|simulates rolling two dice|shuffles a deck of cards
|caches the results of a slow function|retries a failing call three times|reads a JSON file
|writes log lines with a timestamp|measures how long a function takes|capitalises every word
|finds anagrams in a list of words|computes the moving average|draws a triangle of stars
|keeps a to-do list|models a bank account|models a parking lot|models a library with loans""".replace(
    "\n", ""
).split("|")

CODE_LANGUAGES = (
    "Python|Python|Python|Python|JavaScript|Java|C++|Go|Rust|C|TypeScript|SQL|Bash".split("|")
)

NAMES = """Anna|Ben|Carla|David|Elena|Farid|Grace|Hugo|Ines|Jonas|Kira|Liam|Maya|Nora|Omar|Priya
|Quentin|Rosa|Sam|Tara|Uma|Victor|Wendy|Xavier|Yuki|Zoe|Amir|Bella|Chen|Diego""".replace(
    "\n", ""
).split("|")

GOODS = """apples|pencils|books|tickets|cookies|marbles|eggs|stamps|flowers|oranges|notebooks|cups
|shirts|candles|toy cars|sandwiches|bottles of water|plants|chairs|boxes of tea""".replace(
    "\n", ""
).split("|")

PLACES = """Harwick|Linden Bay|Osterholm|Port Elmar|Green Valley|Sandford|Velmont|Kestrel Point|Marlow
|Northgate|Riverton|Ashby|Corvale|Tarn Hill|Westmere|Old Quay|Brackenfield|Sunnydale""".replace(
    "\n", ""
).split("|")

ORGANISATIONS = """the city council|the harbour authority|the public library|a small software firm
|the school board|the regional hospital|a family bakery|the botanical garden|the water company
|a bicycle workshop|the railway museum|a theatre group|the farmers' cooperative|the ferry company
|the youth orchestra|a robotics club|the fire brigade|the local newspaper|a solar energy start-up""".replace(
    "\n", ""
).split("|")

SENTENCES = """The weather was cold, but we went for a walk.|I would like to book a table for two.
|She has worked in this company for ten years.|Where can I find the nearest train station?
|The meeting was moved to Thursday afternoon.|My brother is learning to play the piano.
|Please close the window before you leave.|We forgot to buy milk and bread.|The museum opens at nine.
|He told me a funny story about his neighbour.|The children are playing in the garden.
|I have never seen such a beautiful sunset.|Could you speak more slowly, please?
|The old bridge was destroyed by the flood.|They are planning a trip to the sea next summer.
|It is important to drink enough water.|The bus was late because of the snow.
|I lost my keys somewhere between the office and my home.|What time does the last bus leave?
|Good friends are hard to find.|The doctor said I should rest for a week.
|This soup tastes better than the one we had yesterday.|Our teacher gave us too much homework.
|The price of the tickets has gone up again.|I am looking forward to your answer.""".replace(
    "\n", ""
).split("|")

ALL_TOPICS = SCIENCE + HUMANITIES + EVERYDAY

AUDIENCES = [
    "a child",
    "a beginner",
    "a university student",
    "an expert",
    "my grandmother",
    "a busy manager",
    "a teenager",
    "someone who has never heard of it",
]

FORMATS = [
    "",
    "",
    "",
    " Use a numbered list.",
    " Answer in three short paragraphs.",
    " Keep it under 100 words.",
    " Use bullet points.",
    " Give an example.",
    " Finish with a one-sentence summary.",
    " Use simple words.",
    " Be detailed.",
    " Write it as a table.",
    " Explain your reasoning.",
]
